"""Augmentation: identity, geometry against SciPy, intensities, differentiability."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cxr_jax.data import augmentation
from cxr_jax.data.augmentation import Augmentation

KEY = jax.random.key(0)
NONE = Augmentation.none()
STRONG = Augmentation(8.0, (0.65, 1.15), 0.08, 0.9, 2.0, 0.4, 0.2, 0.5)


def picture(count: int = 3, size: int = 32) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    images = np.stack([ndimage.gaussian_filter(rng.random((size, size)), 2) for _ in range(count)])[..., None]
    images = (images - images.min()) / (images.max() - images.min())
    return jnp.asarray(images, jnp.float32), jnp.asarray(images > 0.5, jnp.float32)


def test_none_changes_nothing():
    images, masks = picture()
    moved = augmentation.geometry(NONE, KEY, images, masks)
    np.testing.assert_array_equal(moved[0], images)
    np.testing.assert_array_equal(moved[1], masks)
    np.testing.assert_array_equal(augmentation.intensity(NONE, KEY, images), images)


def test_rotation_matches_scipy():
    images, masks = picture()
    only_rotation = replace(NONE, rotation=30.0)
    moved, _ = augmentation.geometry(only_rotation, KEY, images, masks)
    for index, key in enumerate(jax.random.split(KEY, len(images))):
        matrix, offset = augmentation._affine(only_rotation, key)
        angle = np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))
        np.testing.assert_allclose(offset, 0, atol=1e-6)
        expected = ndimage.rotate(np.asarray(images[index, ..., 0]), -angle, reshape=False, order=1)
        np.testing.assert_allclose(moved[index, 8:24, 8:24, 0], expected[8:24, 8:24], atol=2e-3)


def test_shrinking_leaves_a_black_frame():
    images, _ = picture()
    shrunk, masks = augmentation.geometry(replace(NONE, scale=(0.5, 0.5)), KEY, images + 1, jnp.ones_like(images))
    assert float(jnp.abs(shrunk[:, :7]).max()) == 0
    assert float(masks[:, :7].max()) == 0
    assert float(masks[:, 9:23, 9:23].min()) == 1


def test_crop_stays_inside_the_image():
    images, _ = picture()
    _, masks = augmentation.geometry(replace(NONE, crop=0.6), KEY, images, jnp.ones_like(images))
    assert float(masks.min()) == 1


def test_images_and_masks_move_together_and_masks_stay_binary():
    _images, masks = picture()
    moved, moved_masks = augmentation.geometry(STRONG, KEY, masks, masks)
    assert set(np.unique(moved_masks)) <= {0.0, 1.0}
    np.testing.assert_array_equal(np.asarray(moved) >= 0.5, np.asarray(moved_masks) > 0)
    assert not np.array_equal(moved_masks, masks)


def test_each_image_gets_its_own_draw():
    images, masks = picture(1)
    twins = jnp.concatenate([images, images])
    moved, _ = augmentation.geometry(STRONG, KEY, twins, jnp.concatenate([masks, masks]))
    coloured = augmentation.intensity(replace(STRONG, negation=0.0), KEY, twins)
    assert not np.array_equal(moved[0], moved[1])
    assert not np.array_equal(coloured[0], coloured[1])


def test_negation_and_range():
    images, _ = picture()
    negative = augmentation.intensity(replace(NONE, negation=1.0), KEY, images)
    np.testing.assert_allclose(negative, 1 - images, atol=2e-4)
    strong = augmentation.intensity(STRONG, KEY, images)
    assert float(strong.min()) >= 0
    assert float(strong.max()) <= 1


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_intensity_has_finite_gradients(value):
    images = jnp.full((2, 4, 4, 1), value)
    gradient = jax.grad(lambda x: augmentation.intensity(STRONG, KEY, x).sum())(images)
    assert jnp.isfinite(gradient).all()
