"""Losses and metrics against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import losses, metrics

RNG = np.random.default_rng(0)


def test_cross_entropy_is_the_mean_over_labelled_images():
    logits, masks = RNG.normal(size=(3, 4, 4, 1)), RNG.integers(0, 2, (3, 4, 4, 1)).astype(float)
    probability = 1 / (1 + np.exp(-logits))
    per_image = -(masks * np.log(probability) + (1 - masks) * np.log(1 - probability)).mean(axis=(1, 2, 3))
    logits, masks = jnp.asarray(logits), jnp.asarray(masks)
    np.testing.assert_allclose(losses.cross_entropy(logits, masks), per_image.mean(), rtol=1e-5)
    some = losses.cross_entropy(logits, masks, jnp.array([True, False, True]))
    np.testing.assert_allclose(some, per_image[[0, 2]].mean(), rtol=1e-5)


def test_cross_entropy_of_an_ensemble_is_the_sum_over_its_members():
    logits, masks = jnp.asarray(RNG.normal(size=(2, 3, 4, 4, 1))), jnp.asarray(RNG.integers(0, 2, (3, 4, 4, 1)) * 1.0)
    for labelled in (None, jnp.array([True, False, True])):
        members = [losses.cross_entropy(own, masks, labelled) for own in logits]
        np.testing.assert_allclose(losses.cross_entropy(logits, masks, labelled), np.sum(members), rtol=1e-5)


def test_cross_entropy_of_no_labelled_image_is_zero_with_zero_gradient():
    logits, masks = jnp.ones((2, 4, 4, 1)), jnp.full((2, 4, 4, 1), jnp.nan)
    value, gradient = jax.value_and_grad(losses.cross_entropy)(logits, masks, jnp.array([False, False]))
    assert value == 0
    assert not jnp.nan_to_num(gradient).any()


def test_least_squares_losses():
    real, translated = jnp.full((2, 3, 3, 1), 0.8), jnp.full((2, 3, 3, 1), 0.3)
    expected = 2 * (0.2**2 + 0.3**2)
    assert losses.least_squares_discriminator([real] * 2, [translated] * 2) == pytest.approx(expected, rel=1e-5)
    assert losses.least_squares_generator([translated] * 2) == pytest.approx(2 * 0.7**2, rel=1e-5)


def test_jaccard_and_dice():
    predicted, truth = np.zeros((4, 4, 4, 1), bool), np.zeros((4, 4, 4, 1), bool)
    predicted[0, :2] = True
    truth[0, 1:3] = True  # 4 shared of 12
    predicted[1] = True  # truth empty
    truth[2] = True  # prediction empty; image 3 has both empty
    np.testing.assert_allclose(metrics.jaccard(jnp.asarray(predicted), jnp.asarray(truth)), [100 / 3, 0, 0, 100])
    np.testing.assert_allclose(metrics.dice(jnp.asarray(predicted), jnp.asarray(truth)), [50, 0, 0, 100], rtol=1e-5)


def test_the_jaccard_to_expect_is_that_of_truths_drawn_with_the_probabilities():
    probabilities = RNG.beta(0.3, 0.3, size=(3, 32, 32, 1)).astype(np.float32)
    masks = probabilities > 0.5
    masks[2] = RNG.random(masks[2].shape) > 0.5  # another mask than the probabilities' own
    drawn = RNG.random((200, *probabilities.shape)) < probabilities
    scores = np.mean([metrics.jaccard(masks, truth) for truth in drawn], axis=0)
    np.testing.assert_allclose(metrics.expected_jaccard(probabilities, masks), scores, atol=0.5)
    assert scores[2] < scores[0] - 20


def test_the_sure_expect_all_and_those_that_found_nothing_nothing():
    masks = np.zeros((2, 4, 4, 1), bool)
    masks[0, :2] = True
    np.testing.assert_array_equal(metrics.expected_jaccard(masks.astype(np.float32), masks), [100, 0])
