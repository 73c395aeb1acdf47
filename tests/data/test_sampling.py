"""Sampling as a function of key and step."""

import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax.data import sampling

KEY = jax.random.key(0)


def test_every_pass_sees_every_image_once_in_a_new_order():
    draw = jax.jit(lambda step: sampling.batch_indices(KEY, step, 10, 4))
    drawn = np.concatenate([draw(jnp.asarray(step)) for step in range(10)])
    passes = drawn.reshape(4, 10)
    for one in passes:
        assert sorted(one) == list(range(10))
    assert len({tuple(one) for one in passes}) == 4


def test_a_batch_larger_than_the_dataset_repeats_images():
    drawn = sampling.batch_indices(KEY, jnp.asarray(0), 3, 7)
    assert sorted(drawn[:3]) == sorted(drawn[3:6]) == [0, 1, 2]


def test_room_for_more_images_changes_nothing():
    for step in range(4):
        tight = sampling.batch_indices(KEY, jnp.asarray(step), 10, 4)
        roomy = sampling.batch_indices(KEY, jnp.asarray(step), jnp.asarray(10), 4, capacity=13)
        np.testing.assert_array_equal(tight, roomy)


def test_ranges():
    images = jnp.array([0, 51, 255], jnp.uint8).reshape(3, 1, 1, 1)
    unit = sampling.to_unit(images)
    np.testing.assert_allclose(unit.ravel(), [0, 0.2, 1], atol=1e-6)
    np.testing.assert_allclose(sampling.to_network(unit).ravel(), [-1, -0.6, 1], atol=1e-6)
    np.testing.assert_allclose(sampling.from_network(sampling.to_network(unit)), unit, atol=1e-6)
