"""Convolutions that keep the size, in forms that XLA makes quick programs of."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from cxr_jax.models.layers import KAIMING, Image
from cxr_jax.models.sums import add_bias


class Conv(nnx.Conv):
    """Flax's convolution, whose bias is added in a way that has a quick gradient on a CPU."""

    def __init__(self, *args: Any, **options: Any):
        """Make the layer, as Flax does."""
        super().__init__(*args, **options)
        self.use_bias = False  # where Flax would add it

    def __call__(self, x: Image) -> Image:
        """Convolve `x`."""
        y = super().__call__(x)
        return y if self.bias is None else add_bias(y, self.bias[...])


def same_conv(channels_in: int, channels_out: int, side: int, *, rngs: nnx.Rngs, **options: Any) -> Conv:
    """Return a layer that keeps the size of its images; beyond the border there is 0. `options` are `nnx.Conv`'s."""
    options = {"kernel_init": KAIMING, "conv_general_dilated": convolve, **options}
    return Conv(channels_in, channels_out, (side, side), rngs=rngs, **options)


def convolve(
    x: Float[Array, "b h w i"],
    kernel: Float[Array, "m n i o"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    rhs_dilation: Sequence[int] = (1, 1),
    **options: Any,
) -> Float[Array, "b p q o"]:
    """Return `jax.lax.conv_general_dilated` of channels-last images; on a CPU its gradient by the kernel is another.

    That gradient is a convolution whose kernel is as large as the images. XLA's for CPUs is up to twice as slow
    at it, and of a single image five times, where it has to pad as well. So there the border is written out first. And
    it rearranges what is convolved, slowly, and multiplies matrices with as many columns as the kernel has channels; so
    where a layer has fewer channels out than in, what comes back is convolved with the images as the kernel.
    """
    apply = partial(
        jax.lax.conv_general_dilated, window_strides=strides, rhs_dilation=rhs_dilation, **_CHANNELS_LAST | options
    )
    if jax.default_backend() != "cpu" or not _all_one(options.get("lhs_dilation") or ()):
        return apply(x, kernel, padding=padding)

    @jax.custom_vjp
    def convolved(x: Array, kernel: Array) -> Array:
        return apply(x, kernel, padding=padding)

    def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolved(x, kernel), (x, kernel)

    def backward(saved: tuple[Array, Array], of: Array) -> tuple[Array, Array]:
        x, kernel = saved
        reach = [1 + (side - 1) * rate for side, rate in zip(kernel.shape[:2], rhs_dilation, strict=True)]
        border = jax.lax.padtype_to_pads(x.shape[1:3], reach, strides, padding) if padding == "SAME" else padding
        (by_images,) = jax.vjp(lambda x: apply(x, kernel, padding=padding), x)[1](of)
        if _all_one((*strides, *rhs_dilation)) and kernel.shape[-1] < kernel.shape[-2] == x.shape[-1]:
            return by_images, _by_kernel_of_few(x, of, kernel.shape[:2], border, options.get("precision"))
        padded = jnp.pad(x, ((0, 0), *border, (0, 0)))
        (by_kernel,) = jax.vjp(lambda kernel: apply(padded, kernel, padding="VALID"), kernel)[1](of)
        return by_images, by_kernel

    convolved.defvjp(forward, backward)
    return convolved(x, kernel)


def _all_one(rates: Iterable[int]) -> bool:
    return all(rate == 1 for rate in rates)


def _by_kernel_of_few(
    x: Float[Array, "b h w i"],
    of: Float[Array, "b p q o"],
    sides: Sequence[int],
    border: Sequence[tuple[int, int]],
    precision: jax.lax.PrecisionLike,
) -> Float[Array, "m n i o"]:
    """Return the gradient by a kernel of those `sides`, given the images, their border and the gradient by the outcome.

    In it stands, for each position, the product of the images and of that gradient, `of`, moved against each other. So
    it is `of` convolved with the images, the batch as channels, turned round.
    """
    reach = [(side - 1 - low, side - 1 - high) for side, (low, high) in zip(sides, border, strict=True)]
    padded = jax.lax.pad(of, jnp.zeros((), of.dtype), [(0, 0, 0), *((low, high, 0) for low, high in reach), (0, 0, 0)])
    found = jax.lax.conv_general_dilated(
        padded, x, (1, 1), "VALID", dimension_numbers=("CHWN", "IHWO", "NHWC"), precision=precision
    )
    return found[:, ::-1, ::-1].transpose(1, 2, 3, 0)


class ConvByProduct(nnx.Conv):
    """A convolution that keeps the size, as one matrix product: for large kernels on small images, which are slow.

    Every pixel is given its neighbourhood, so this takes as many times the memory as the kernel has positions.
    """

    def __init__(self, channels_in: int, channels_out: int, side: int, *, kernel_init: nnx.Initializer, rngs: nnx.Rngs):
        """Make the layer; `side`, the kernel's, is odd."""
        super().__init__(channels_in, channels_out, (side, side), kernel_init=kernel_init, rngs=rngs)

    def __call__(self, x: Image) -> Image:
        """Convolve `x`; what is beyond the border counts as 0."""
        _, h, w, _ = x.shape
        reach = [(side // 2, side // 2) for side in self.kernel_size]
        padded = jnp.pad(x, ((0, 0), *reach, (0, 0)))
        shifted = [padded[:, i : i + h, j : j + w] for i, j in np.ndindex(*self.kernel_size)]
        patches, kernel, bias = (
            part.astype(self.dtype or x.dtype)
            for part in (jnp.concatenate(shifted, axis=-1), self.kernel[...], self.bias[...])
        )
        return patches @ kernel.reshape(-1, kernel.shape[-1]) + bias


_CHANNELS_LAST = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}
