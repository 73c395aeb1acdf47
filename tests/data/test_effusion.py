"""Effusions: where they are, in how many images, and what they leave as it is."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.data import augmentation, effusion
from cxr_jax.data.augmentation import Augmentation

KEY = jax.random.key(0)
TOP, BASE = 8, 48  # rows of the lungs
SIDE = 64


def chests(count: int, dark: float = 0.2) -> tuple[jax.Array, jax.Array]:
    """Return images of two lungs, dark in a body that is as bright as fluid or brighter, and the lungs' masks."""
    lungs = np.zeros((count, SIDE, SIDE, 1), np.float32)
    lungs[:, TOP:BASE, 8:26] = lungs[:, TOP:BASE, 38:56] = 1.0
    return jnp.asarray(np.where(lungs > 0, dark, 1.0), jnp.float32), jnp.asarray(lungs)


@pytest.fixture(scope="module")
def drawn():
    images, lungs = chests(300)
    return np.asarray(images), np.asarray(lungs), np.asarray(effusion.draw(0.5, KEY, images, lungs))


def white(drawn) -> np.ndarray:
    """Return by how much the lower and the upper quarter of the left and the right half's lung became brighter."""
    images, lungs, sick = drawn
    brighter = ((sick - images) * lungs)[..., 0]
    quarter = (BASE - TOP) // 4
    rows = [brighter[:, BASE - quarter : BASE], brighter[:, TOP : TOP + quarter]]
    return np.stack([[half.max(axis=(1, 2)) for half in np.split(part, 2, axis=2)] for part in rows])


def test_lungs_are_white_from_the_base_up(drawn):
    lower, upper = white(drawn)
    assert (lower >= upper - 1e-6).all()
    assert lower[lower > 0.05].mean() > 0.4
    assert (upper < 0.05).mean() > 0.8


def test_as_many_images_as_the_probability_says_one_lung_or_both(drawn):
    lower, _ = white(drawn)
    left, right = lower > 0.02
    assert (left | right).mean() == pytest.approx(0.5, abs=0.08)
    for lung, other in ((left, right), (right, left)):
        assert lung[left | right].mean() == pytest.approx(0.6, abs=0.1)
        assert (lung & ~other).sum() > 30


def test_nothing_gets_darker_or_leaves_the_range(drawn):
    images, _, sick = drawn
    assert (sick >= images).all()
    assert sick.max() <= 1.0


def test_far_from_the_lungs_nothing_changes():
    images, lungs = chests(20)
    dark = jnp.full_like(images, 0.2)
    changed = np.asarray(effusion.draw(1.0, KEY, dark, lungs) - dark).max(axis=(0, 3)) > 1e-6
    assert changed.any()
    reach = 3
    assert not changed[: TOP - reach].any()
    assert not changed[BASE + reach :].any()
    assert not changed[:, : 8 - reach].any()
    assert not changed[:, 26 + reach : 38 - reach].any()


def test_nothing_is_drawn_without_a_mask_or_at_a_probability_of_0():
    images, lungs = chests(8)
    np.testing.assert_array_equal(effusion.draw(1.0, KEY, images, jnp.zeros_like(lungs)), images)
    np.testing.assert_array_equal(effusion.draw(0.0, KEY, images, lungs), images)


def test_each_lung_has_one_surface_however_unequal_they_are():
    images, lungs = chests(40)
    lungs = lungs.at[:, :, 50:].set(0.0).at[:, : BASE - 10, 38:].set(0.0)  # a lung of a sixth of the other's area
    brighter = np.asarray(effusion.draw(1.0, KEY, jnp.full_like(images, 0.2), lungs))[..., 0] - 0.2
    steps = np.abs(np.diff(brighter[:, TOP + 2 : BASE - 2, 8 + 2 : 26 - 2], axis=2))
    assert brighter.max() > 0.4
    assert steps.max() < 0.2


def test_appearance_draws_effusions_in_front_of_the_scanner():
    images, lungs = chests(8)
    none, sick = Augmentation.none(), replace(Augmentation.none(), effusion=1.0)
    np.testing.assert_array_equal(augmentation.appearance(none, KEY, images, lungs), images)
    brighter = augmentation.appearance(sick, KEY, images, lungs) - images
    negative = augmentation.appearance(replace(sick, negation=1.0), KEY, images, lungs) - (1 - images)
    assert float(brighter.max()) > 0.4
    np.testing.assert_allclose(negative, -brighter, atol=2e-4)


def test_gradients_are_finite_and_smaller_under_the_fluid():
    images, lungs = chests(8)
    gradient = jax.grad(lambda x: effusion.draw(1.0, KEY, x, lungs).sum())(images)
    assert jnp.isfinite(gradient).all()
    assert float(gradient.min()) < 0.35
    assert float(gradient.max()) == pytest.approx(1.0)
