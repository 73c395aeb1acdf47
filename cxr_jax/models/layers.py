"""Layers that two or more architectures share. Images are channels-last, `b h w c`."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8

from cxr_jax.models.normalisation import instance_norm
from cxr_jax.models.sums import add_bias

KAIMING = nnx.initializers.kaiming_normal()
GAUSSIAN = nnx.initializers.normal(0.02)

Image = Float[Array, "_ _ _ _"]
Pooled = Float[Array, "b h w c"]
Indices = UInt8[Array, "b h w c"]


def check_width(width: int, multiple: int = 1) -> None:
    """Raise ValueError unless `width`, the channels of a network's first stage, is a multiple of `multiple`."""
    if width < 1 or width % multiple:
        raise ValueError(f"width must be a multiple of {multiple}, at least {multiple}, found {width}")


def check_size(images: Image, multiple: int) -> None:
    """Raise ValueError unless height and width of the images are multiples of `multiple`."""
    _, h, w, _ = images.shape
    if h % multiple or w % multiple:
        raise ValueError(f"height and width of images must be multiples of {multiple}, found {h}x{w}")


def identity(x: Image) -> Image:
    """Return `x`: stands where a layer has no normalisation or activation."""
    return x


def leaky_relu(x: Image) -> Image:
    """Leaky rectifier with slope 0.2, the one of the discriminators."""
    return jax.nn.leaky_relu(x, 0.2)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def mirror_pad(x: Image, width: int, mode: str = "reflect") -> Image:
    """Pad height and width by `width` pixels mirrored about the border pixel ("reflect") or behind it ("symmetric").

    Its gradient adds what comes back to the mirrored pixels to those they were taken from, one border after the other;
    JAX's own fills an image with zeros for each of these. There is no forward mode (`jax.jvp`). Raises `ValueError` for
    images that have fewer pixels to mirror than `width`.
    """
    _, h, w, _ = x.shape
    least = width + _BETWEEN[mode]
    if min(h, w) < least:
        raise ValueError(f"expected images of at least {least}x{least} to mirror {width} pixels of, found {h}x{w}")
    return jnp.pad(x, ((0, 0), (width, width), (width, width), (0, 0)), mode)


def _mirror_pad(x: Image, width: int, mode: str) -> tuple[Image, None]:
    return mirror_pad(x, width, mode), None


def _mirror_pad_gradient(width: int, mode: str, _: None, of: Image) -> tuple[Image]:
    from_border = np.cumsum([width, _BETWEEN[mode], width])
    for axis in (1, 2):
        mirrored, kept, taken, rest = jnp.split(of, from_border, axis)
        of = jnp.concatenate([kept, taken + jnp.flip(mirrored, axis), rest], axis)
        rest, taken, kept, mirrored = jnp.split(of, of.shape[axis] - from_border[::-1], axis)
        of = jnp.concatenate([rest, taken + jnp.flip(mirrored, axis), kept], axis)
    return (of,)


mirror_pad.defvjp(_mirror_pad, _mirror_pad_gradient)


@jax.custom_vjp
def max_pool(x: Image) -> Pooled:
    """2x2 max pooling, whose gradient is shared among those of a square's pixels that equal its maximum.

    Written as a reshape: its gradient is several times faster than a window reduction's. A program may compute `x` anew
    for the gradient, rounded differently, so that no pixel equals the maximum: that square then has a gradient of
    zero, where JAX's would be 0/0. There is no forward mode (`jax.jvp`).
    """
    return _squares(x).max(axis=(2, 4))


def _max_pool(x: Image) -> tuple[Pooled, tuple[Image, Pooled]]:
    largest = max_pool(x)
    return largest, (x, largest)


def _max_pool_gradient(kept: tuple[Image, Pooled], of: Pooled) -> tuple[Image]:
    x, largest = kept
    taken = (_squares(x) == largest[:, :, None, :, None]).astype(x.dtype)
    share = of / jnp.maximum(taken.sum(axis=(2, 4)), 1)
    return ((taken * share[:, :, None, :, None]).reshape(x.shape),)


max_pool.defvjp(_max_pool, _max_pool_gradient)


def max_pool_with_indices(x: Image) -> tuple[Pooled, Indices]:
    """2x2 max pooling, and which pixel of each square was taken: 0 to 3, row by row, the first of equal ones.

    The gradient goes to that pixel alone, also among equal ones.
    """
    squares = _squares(x)
    largest = jax.lax.stop_gradient(squares).max(axis=(2, 4), keepdims=True)
    indices = jnp.where(squares == largest, _POSITIONS, 3).min(axis=(2, 4))
    taken = indices[:, :, None, :, None, :] == _POSITIONS
    return jnp.where(taken, squares, 0.0).sum(axis=(2, 4)), indices


def max_unpool(x: Pooled, indices: Indices) -> Image:
    """Double height and width: each value goes where `max_pool_with_indices` took its maximum, between zeros."""
    b, h, w, c = x.shape
    taken = indices[:, :, None, :, None, :] == _POSITIONS
    return jnp.where(taken, x[:, :, None, :, None, :], 0.0).reshape(b, 2 * h, 2 * w, c)


def dropout_keys(key: PRNGKeyArray | None, number: int) -> list[PRNGKeyArray]:
    """Return a key for each of a network's `number` dropouts; ValueError without a key to make them from."""
    if key is None:
        raise ValueError("a network with dropout needs randomness to train: call it with train=True and a key")
    return list(jax.random.split(key, number))


def dropout(x: Image, rate: float, key: PRNGKeyArray) -> Image:
    """Set each value to 0 with probability `rate` and divide the others by `1 - rate`, which keeps the mean."""
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


class PaddedConv(nnx.Module):
    """Reflection padding, convolution, normalisation and activation: the block MUNIT is made of."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int,
        norm: Callable[[Image], Image] = identity,
        activation: Callable[[Image], Image] = jax.nn.relu,
        kernel_init: nnx.Initializer = KAIMING,
        rngs: nnx.Rngs,
    ):
        """Make the block; `norm` may be a function or a module."""
        self.conv = nnx.Conv(
            channels_in,
            channels_out,
            (kernel, kernel),
            strides=stride,
            padding="VALID",
            kernel_init=kernel_init,
            rngs=rngs,
        )
        self.norm = norm
        self.activation = activation
        self.padding = padding

    def __call__(self, x: Image) -> Image:
        """Apply the block."""
        return self.activation(self.norm(self.conv(mirror_pad(x, self.padding))))


class ResidualBlock(nnx.Module):
    """x + conv(conv(x)) with instance norm in between."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the block."""
        self.first = PaddedConv(channels, channels, 3, padding=1, norm=instance_norm, rngs=rngs)
        self.second = PaddedConv(channels, channels, 3, padding=1, norm=instance_norm, activation=identity, rngs=rngs)

    def __call__(self, x: Image) -> Image:
        """Apply the block."""
        return x + self.second(self.first(x))


class UpConv(nnx.Module):
    """2x2 transposed convolution with stride 2, as a matrix product and a reshape (fast on every backend)."""

    def __init__(self, channels_in: int, channels_out: int, *, rngs: nnx.Rngs):
        """Make the layer."""
        shape = (2, 2, channels_in, channels_out)
        self.kernel = nnx.Param(
            nnx.initializers.variance_scaling(2.0, "fan_in", "normal", in_axis=2)(rngs.params(), shape)
        )
        self.bias = nnx.Param(jnp.zeros((channels_out,)))

    def __call__(self, x: Image) -> Image:
        """Double height and width of `x`."""
        b, h, w, _ = x.shape
        y = jnp.einsum("bhwc,ijco->bhiwjo", x, self.kernel[...].astype(x.dtype))
        return add_bias(y.reshape(b, 2 * h, 2 * w, -1), self.bias[...])


class UpsampledConv(nnx.Module):
    """Nearest upsampling by 2 and 5x5 convolution with replicated borders, then normalisation and ReLU.

    Computed without the large intermediate image: among the 5x5 pixels under a kernel only 3x3 differ, and
    which ones depends on whether row and column are even. So it is one 3x3 convolution of the small image
    whose kernels are sums of the 5x5 kernel's entries, one for each of the four cases, at a third of the cost.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        *,
        norm: Callable[[Image], Image] = identity,
        rngs: nnx.Rngs,
    ):
        """Make the layer."""
        self.kernel = nnx.Param(KAIMING(rngs.params(), (5, 5, channels_in, channels_out)))
        self.bias = nnx.Param(jnp.zeros((channels_out,)))
        self.norm = norm

    def __call__(self, x: Image) -> Image:
        """Double height and width of `x`."""
        b, h, w, c = x.shape
        sums = jnp.array([_EVEN, _ODD], jnp.float32)
        kernel = jnp.einsum("pay,qbx,yxio->abipqo", sums, sums, self.kernel[...]).reshape(3, 3, c, -1).astype(x.dtype)
        padded = mirror_pad(x, 1, "symmetric")
        y = jax.lax.conv_general_dilated(padded, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        y = y.reshape(b, h, w, 2, 2, -1).transpose(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, -1)
        return jax.nn.relu(self.norm(y + self.bias[...].astype(x.dtype)))


_BETWEEN = {"reflect": 1, "symmetric": 0}  # pixels that are not mirrored, between those that are and what mirrors them

# Which of the three small pixels around it each of the five upsampled pixels under a kernel repeats.
_EVEN = ((1, 1, 0, 0, 0), (0, 0, 1, 1, 0), (0, 0, 0, 0, 1))
_ODD = ((1, 0, 0, 0, 0), (0, 1, 1, 0, 0), (0, 0, 0, 1, 1))

# Where the pixels of a square are, seen as `b h 2 w 2 c`.
_POSITIONS = np.arange(4, dtype=np.uint8).reshape(1, 1, 2, 1, 2, 1)


def _squares(x: Image) -> Float[Array, "b h 2 w 2 c"]:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c)
