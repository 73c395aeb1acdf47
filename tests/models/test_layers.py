"""Layers against independent NumPy references."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from cxr_jax.models import layers, normalisation

RNG = np.random.default_rng(0)


def images(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def test_adaptive_instance_norm_matches_numpy():
    x, scale, shift = images(2, 5, 6, 3), images(2, 3), images(2, 3)
    expected = np.empty_like(x)
    for n in range(2):
        for c in range(3):
            channel = x[n, :, :, c]
            normal = (channel - channel.mean()) / np.sqrt(channel.var() + 1e-5)
            expected[n, :, :, c] = normal * scale[n, c] + shift[n, c]
    np.testing.assert_allclose(
        normalisation.adaptive_instance_norm(jnp.asarray(x), jnp.asarray(scale), jnp.asarray(shift)),
        expected,
        atol=2e-5,
    )


def test_layer_norm_is_munits():
    layer = normalisation.LayerNorm(3, rngs=nnx.Rngs(0))
    layer.shift[...] = jnp.array([0.5, -1.0, 2.0])
    x = images(2, 5, 6, 3)
    scale, shift = np.asarray(layer.scale[...]), np.asarray(layer.shift[...])
    assert ((scale >= 0) & (scale < 1)).all()
    for n in range(2):
        expected = (x[n] - x[n].mean()) / (x[n].std(ddof=1) + 1e-5) * scale + shift
        np.testing.assert_allclose(layer(jnp.asarray(x))[n], expected, atol=2e-5)


@pytest.mark.parametrize("width", [0, 1, 3])
def test_padding_mirrors_about_the_border_pixel(width):
    x = images(1, 6, 7, 2)
    padded = np.asarray(layers.mirror_pad(jnp.asarray(x), width))
    for i in range(-width, 6 + width):
        for j in range(-width, 7 + width):
            row, column = (min(abs(k), 2 * (n - 1) - abs(k)) for k, n in ((i, 6), (j, 7)))
            np.testing.assert_array_equal(padded[0, i + width, j + width], x[0, row, column])


def test_an_image_too_small_to_be_mirrored_is_refused():
    with pytest.raises(ValueError, match="at least 4x4 to mirror 3 pixels of, found 3x5"):
        layers.mirror_pad(jnp.zeros((1, 3, 5, 1)), 3)


@pytest.mark.parametrize("size", [4, 9])
@pytest.mark.parametrize("mode", ["reflect", "symmetric"])
@pytest.mark.parametrize("width", [0, 1, 3])
def test_what_is_mirrored_gives_its_gradient_to_the_pixel_it_was_taken_from(width, mode, size):
    border = (width, width)
    plain = partial(jnp.pad, pad_width=((0, 0), border, border, (0, 0)), mode=mode)
    x = jnp.asarray(images(2, size, size + 1, 3))
    of = jnp.asarray(images(*plain(x).shape))
    found, expected = (jax.vjp(pad, x)[1](of)[0] for pad in (lambda x: layers.mirror_pad(x, width, mode), plain))
    np.testing.assert_array_equal(layers.mirror_pad(x, width, mode), plain(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_upsampled_conv_is_nearest_upsampling_and_a_5x5_convolution():
    layer = layers.UpsampledConv(2, 3, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.array([0.1, 0.2, -0.3])
    x = images(2, 4, 5, 2)
    large = np.pad(x.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
    expected = np.empty((2, 8, 10, 3), np.float32)
    for i in range(8):
        for j in range(10):
            window = large[:, i : i + 5, j : j + 5]
            expected[:, i, j] = np.einsum("nyxi,yxio->no", window, np.asarray(layer.kernel[...]))
    expected = np.maximum(expected + np.array([0.1, 0.2, -0.3]), 0)
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-4)


def test_max_pool_takes_the_largest_of_each_square():
    x = images(2, 4, 6, 3)
    expected = np.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]).max(axis=0)
    np.testing.assert_array_equal(layers.max_pool(jnp.asarray(x)), expected)


def tied(*shape: int) -> np.ndarray:
    """Images of few values, so that most squares hold their maximum more than once."""
    return RNG.integers(-1, 2, shape).astype(np.float32)


@pytest.mark.parametrize("draw", [images, tied])
def test_pooling_with_indices_and_unpooling_match_numpy(draw):
    x = draw(2, 4, 6, 3)
    pooled, indices = layers.max_pool_with_indices(jnp.asarray(x))
    values = images(2, 2, 3, 3)
    unpooled = layers.max_unpool(jnp.asarray(values), indices)
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(2, 2, 3, 3):
        square = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].reshape(-1)
        first = int(square.argmax())
        assert (pooled[n, i, j, c], indices[n, i, j, c]) == (square[first], first)
        expected[n, 2 * i + first // 2, 2 * j + first % 2, c] = values[n, i, j, c]
    np.testing.assert_array_equal(unpooled, expected)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("draw", [images, tied])
def test_gradient_of_max_pool_is_that_of_a_maximum_of_four(draw, dtype):
    members = jnp.asarray(draw(5, 2, 4, 6, 3), dtype), jnp.asarray(images(5, 2, 2, 3, 3), dtype)
    found, expected = (
        jax.vmap(lambda x, of, pool=pool: jax.vjp(pool, x)[1](of)[0])(*members)
        for pool in (layers.max_pool, lambda x: x.reshape(2, 2, 2, 3, 2, 3).max(axis=(2, 4)))
    )
    np.testing.assert_array_equal(found, expected)


def test_a_maximum_that_no_pixel_equals_has_no_gradient():
    """It happens where a program computes the pixels anew for the gradient, and rounds them otherwise."""
    x, cotangent = images(2, 4, 6, 3), images(2, 2, 3, 3)
    (gradient,) = layers._max_pool_gradient((jnp.asarray(x), jnp.asarray(x[:, ::2, ::2] + 10)), jnp.asarray(cotangent))
    np.testing.assert_array_equal(gradient, np.zeros_like(x))


def test_gradients_of_pooling_and_unpooling_match_finite_differences():
    x, weights = RNG.permutation(32).reshape(1, 4, 4, 2).astype(np.float32) / 16 - 1, images(1, 4, 4, 2)

    def through_both(x):
        pooled, indices = layers.max_pool_with_indices(jnp.asarray(x))
        return (weights * layers.max_unpool(pooled**2, indices)).sum()

    check_grads(through_both, (x,), order=1, modes=["rev"], eps=1e-3)


def test_gradient_of_pooling_goes_to_the_first_of_equal_pixels():
    x, cotangent = tied(2, 4, 6, 3), images(2, 2, 3, 3)
    (_, indices), vjp = jax.vjp(layers.max_pool_with_indices, jnp.asarray(x))
    (gradient,) = vjp((jnp.asarray(cotangent), np.zeros(indices.shape, jax.dtypes.float0)))
    np.testing.assert_array_equal(gradient, layers.max_unpool(jnp.asarray(cotangent), indices))
    _, vjp = jax.vjp(lambda values: layers.max_unpool(values, indices), jnp.asarray(cotangent))
    (gradient,) = vjp(jnp.asarray(x))
    np.testing.assert_array_equal(gradient, x.reshape(2, 2, 2, 3, 2, 3).max(axis=(2, 4)))


def test_dropout_drops_the_rate_keeps_the_mean_and_uses_its_key():
    x = jnp.full((1, 64, 64, 4), 3.0)
    dropped = [np.asarray(layers.dropout(x, 0.25, jax.random.key(seed))) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert (dropped[0] != dropped[2]).any()
    assert set(np.unique(dropped[0])) == {0.0, 4.0}
    assert (dropped[0] == 0).mean() == pytest.approx(0.25, abs=0.02)


def test_dropout_keys_need_a_key_and_differ():
    first, second = layers.dropout_keys(jax.random.key(0), 2)
    assert (jax.random.key_data(first) != jax.random.key_data(second)).any()
    with pytest.raises(ValueError, match="call it with train=True and a key"):
        layers.dropout_keys(None, 2)


def test_up_conv_is_a_transposed_convolution():
    layer = layers.UpConv(3, 4, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.arange(4.0)
    x = images(2, 3, 5, 3)
    kernel = np.asarray(layer.kernel[...])
    expected = np.zeros((2, 6, 10, 4), np.float32)
    for i in (0, 1):
        for j in (0, 1):
            expected[:, i::2, j::2] = x @ kernel[i, j] + np.arange(4.0)
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(7, 1, 3), (4, 2, 1), (3, 1, 1)])
def test_padded_conv_matches_numpy(kernel, stride, padding):
    block = layers.PaddedConv(2, 3, kernel, stride=stride, padding=padding, rngs=nnx.Rngs(0))
    x = images(1, 8, 8, 2)
    weights = np.asarray(block.conv.kernel[...])
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), mode="reflect")
    side = 8 // stride
    expected = np.zeros((1, side, side, 3), np.float32)
    for i in range(side):
        for j in range(side):
            window = padded[0, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            expected[0, i, j] = np.einsum("ijc,ijco->o", window, weights)
    np.testing.assert_allclose(block(jnp.asarray(x)), np.maximum(expected, 0), atol=1e-4)


def test_kaiming_initialisation_keeps_the_scale_of_relu_layers():
    block = layers.PaddedConv(64, 64, 3, padding=1, rngs=nnx.Rngs(0))
    deviation = float(jnp.std(block.conv.kernel[...]))
    assert deviation == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.05)
