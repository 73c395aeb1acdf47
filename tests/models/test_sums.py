"""Sums over pixels, against JAX's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax.models import sums

RNG = np.random.default_rng(0)
X, OF = (jnp.asarray(RNG.normal(size=(3, 9, 6, 4)), jnp.float32) for _ in range(2))


def test_each_channel_of_each_image_is_summed():
    np.testing.assert_allclose(sums.sum_pixels(X), np.asarray(X).sum(axis=(1, 2)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_bias_is_added_and_has_the_gradient_of_an_addition_in_32_bits(dtype):
    x, of, bias = X.astype(dtype), OF.astype(dtype), jnp.arange(4.0)
    added, gradients = jax.vjp(sums.add_bias, x, bias)
    assert added.dtype == dtype
    np.testing.assert_array_equal(added, x + bias.astype(dtype))
    of_x, of_bias = gradients(of)
    np.testing.assert_array_equal(of_x, of)
    assert of_bias.dtype == jnp.float32
    np.testing.assert_allclose(of_bias, np.asarray(of, np.float32).sum(axis=(0, 1, 2)), rtol=1e-5, atol=1e-5)
