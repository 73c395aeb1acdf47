"""Test-time augmentation: the mean over views, each put back in its place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import tta


def smooth(count=3, size=64):
    """Return soft blobs inside their frames and away from the middle, in [0, 255]."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size)] * 2, indexing="ij"))
    centres = np.random.default_rng(0).choice([-0.4, 0.4], (count, 2, 1, 1))
    blobs = np.exp(-12 * ((grid - centres) ** 2).sum(axis=1))
    return np.rint(255 * blobs).astype(np.uint8)[..., None]


def unit(scale, images):
    return scale * images.astype(jnp.float32) / 255


def test_what_is_found_comes_back_to_its_place():
    images = smooth()
    found = tta.averaged(unit)(0.5, images)
    np.testing.assert_allclose(found, images / 510, atol=0.01)
    whole = tta.averaged(lambda _, shown: jnp.ones(shown.shape))(None, images)
    np.testing.assert_allclose(whole, 1.0, atol=1e-6)  # also at the edges, which not every view shows


@pytest.mark.parametrize("view", tta.VIEWS)
def test_each_view_has_its_way_back(view):
    there, back = (np.vstack([part, [0, 0, 1]]) for part in view.maps())
    np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-12)
    if view != tta.VIEWS[0]:
        assert np.abs(there - np.eye(3)).max() > 0.02


def test_the_first_view_is_the_image():
    np.testing.assert_array_equal(tta.VIEWS[0].maps()[0], np.eye(3)[:2])


def test_what_one_view_gets_wrong_weighs_little():
    images = smooth()
    stain = np.zeros((64, 64, 1), np.float32)
    stain[20:24, 40:44] = 1.0  # where the network stains whatever it sees

    def stained(_, shown):
        return jnp.maximum(unit(1.0, shown), stain)

    once, mean = (np.asarray(f(None, images)) - images / 255 for f in (jax.jit(stained), tta.averaged(stained)))
    assert np.abs(mean).max() < 0.75 * np.abs(once).max()
