"""CycleGAN's history of translated images."""

import jax
import jax.numpy as jnp
import numpy as np

from cxr_jax import image_pool

KEY = jax.random.key(0)


def numbered(*values: float) -> jax.Array:
    """Return images of one pixel that can be told apart."""
    return jnp.array(values, jnp.float32).reshape(-1, 1, 1, 1)


def test_a_pool_with_room_shows_what_is_given_and_remembers_it():
    pool, shown = image_pool.exchange(image_pool.empty(5, 1, 1), numbered(1, 2, 3), KEY)
    np.testing.assert_array_equal(shown, numbered(1, 2, 3))
    np.testing.assert_array_equal(pool.images.ravel(), [1, 2, 3, 0, 0])
    assert int(pool.count) == 3


def test_a_full_pool_shows_half_of_what_it_remembers_and_loses_nothing_else():
    pool, _ = image_pool.exchange(image_pool.empty(4, 1, 1), numbered(-1, -2, -3, -4), KEY)
    old = 0
    for trial in range(200):
        given = numbered(2 * trial + 1, 2 * trial + 2)
        before = {*np.ravel(pool.images).tolist(), *np.ravel(given).tolist()}
        pool, shown = jax.jit(image_pool.exchange)(pool, given, jax.random.fold_in(KEY, trial))
        assert {*np.ravel(pool.images).tolist(), *np.ravel(shown).tolist()} == before
        old += int((shown != given).sum())
    assert 160 < old < 240
    assert int(pool.count) == 4
