"""Convolutions that keep the size, against XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import convolution, layers

RNG = np.random.default_rng(0)


def images(*shape: int) -> jax.Array:
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def gradients(layer: nnx.Conv, x: jax.Array, weights: jax.Array) -> tuple:
    graph, variables = nnx.split(layer)
    return jax.grad(lambda variables, x: (weights * nnx.merge(graph, variables)(x)).sum(), argnums=(0, 1))(variables, x)


@pytest.mark.parametrize(
    ("side", "options", "batch"),
    [
        (3, {}, 1),
        (3, {}, 3),
        (1, {"use_bias": False}, 2),
        (7, {"use_bias": False}, 2),
        (3, {"kernel_dilation": 4}, 2),
        (3, {"strides": 2}, 2),
        (3, {"input_dilation": 2, "padding": [(1, 1), (2, 1)]}, 2),
        (3, {"padding": [(3, 0), (0, 4)]}, 2),
        (4, {"padding": [(1, 2), (2, 1)]}, 2),
    ],
)
@pytest.mark.parametrize("channels", [(2, 5), (6, 4)])
def test_a_convolution_and_its_gradients_are_xlas(channels, side, options, batch):
    ours = convolution.same_conv(*channels, side, **options, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(*channels, (side, side), kernel_init=layers.KAIMING, **options, rngs=nnx.Rngs(0))
    if theirs.bias is not None:
        ours.bias[...] = theirs.bias[...] = jnp.arange(1.0, channels[1] + 1)
    x = images(batch, 9, 12, channels[0])
    np.testing.assert_array_equal(ours(x), theirs(x))
    weights = images(*theirs(x).shape)
    for found, expected in zip(
        *(map(jax.tree.leaves, (gradients(ours, x, weights), gradients(theirs, x, weights)))), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("channels_in", "channels_out"), [(4, 5), (6, 2)])
def test_members_have_the_gradients_of_each_alone(channels_in, channels_out):
    kernels = images(2, 3, 3, channels_in, channels_out)
    x, weights = images(2, 3, 8, 8, channels_in), images(2, 3, 8, 8, channels_out)

    def gradient(kernel, x, weights):
        return jax.grad(lambda kernel: (weights * convolution.convolve(x, kernel, (1, 1), "SAME")).sum())(kernel)

    together = jax.vmap(gradient)(kernels, x, weights)
    alone = jnp.stack([gradient(*member) for member in zip(kernels, x, weights, strict=True)])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("channels_out", "exchanged"), [(2, True), (4, False)])
def test_what_has_fewer_channels_is_padded(channels_out, exchanged, dtype):
    x, kernel = images(5, 8, 8, 3).astype(dtype), images(3, 3, 3, channels_out).astype(dtype)
    gradient = jax.jit(jax.grad(lambda kernel: convolution.convolve(x, kernel, (1, 1), "SAME").sum()))
    program = str(gradient.trace(kernel).jaxpr)
    assert [f"[5,10,10,{channels}]" in program for channels in (channels_out, 3)] == [exchanged, not exchanged]
    assert gradient(kernel).dtype == dtype


def test_another_backend_keeps_xlas_gradient(monkeypatch):
    def primitives():
        program = jax.make_jaxpr(lambda x, kernel: convolution.convolve(x, kernel, (1, 1), "SAME"))
        return [equation.primitive.name for equation in program(images(1, 8, 8, 2), images(3, 3, 2, 2)).eqns]

    assert primitives() == ["custom_vjp_call"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert primitives() == ["conv_general_dilated"]


@pytest.mark.parametrize("side", [3, 7])
def test_a_convolution_by_product_is_the_convolution(side):
    ours = convolution.ConvByProduct(4, 6, side, kernel_init=layers.KAIMING, rngs=nnx.Rngs(0))
    theirs = nnx.Conv(4, 6, (side, side), kernel_init=layers.KAIMING, rngs=nnx.Rngs(0))
    ours.bias[...] = theirs.bias[...] = jnp.arange(6.0)
    x = images(2, 5, 8, 4)
    np.testing.assert_allclose(ours(x), theirs(x), atol=2e-5)
    gradients = [jax.grad(lambda x, layer=layer: (layer(x) ** 2).sum())(x) for layer in (ours, theirs)]
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-3)
