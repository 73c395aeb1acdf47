"""Normalisations: the moments of each channel of each image, then one scale and one shift for it.

All are written as those two functions, whose gradients are given here. They need no other sums over pixels than
`sum_pixels`, as those that XLA makes itself are slow on a CPU. Whatever the type of an image, all of it is computed in
fp32 and rounded once, at the end.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cxr_jax.models.sums import ByChannel, Image, sum_pixels

EPSILON = 1e-5  # of the variance
MOMENTUM = 0.9  # of the running statistics of batch norm: they forget with a half-life of seven steps


@jax.custom_vjp
def moments(x: Image) -> tuple[ByChannel, ByChannel]:
    """Return mean and (biased) variance of each channel of each image."""
    return _moments(x)[0]


def _moments(x: Image) -> tuple[tuple[ByChannel, ByChannel], tuple[Image, ByChannel]]:
    pixels = x.shape[1] * x.shape[2]
    mean = sum_pixels(x) / pixels
    return (mean, sum_pixels((x - mean[:, None, None]) ** 2) / pixels), (x, mean)


def _moments_gradient(kept: tuple[Image, ByChannel], of: tuple[ByChannel, ByChannel]) -> tuple[Image]:
    x, mean = kept
    of_mean, of_variance = (part[:, None, None] / (x.shape[1] * x.shape[2]) for part in of)
    return (of_mean + 2 * of_variance * (x - mean[:, None, None]),)


moments.defvjp(_moments, _moments_gradient)


@jax.custom_vjp
def scale_and_shift(x: Image, scale: ByChannel, shift: ByChannel) -> Image:
    """Return `scale * x + shift`, each channel of each image with its own numbers."""
    return x * scale[:, None, None] + shift[:, None, None]


def _scale_and_shift(x: Image, scale: ByChannel, shift: ByChannel) -> tuple[Image, tuple[Image, ByChannel]]:
    return scale_and_shift(x, scale, shift), (x, scale)


def _scale_and_shift_gradient(kept: tuple[Image, ByChannel], of: Image) -> tuple[Image, ByChannel, ByChannel]:
    x, scale = kept
    return of * scale[:, None, None], sum_pixels(of * x), sum_pixels(of)


scale_and_shift.defvjp(_scale_and_shift, _scale_and_shift_gradient)


def pooled(mean: ByChannel, variance: ByChannel, groups: int = 1, axis: int = 1) -> tuple[ByChannel, ByChannel]:
    """Return the moments of channels (`axis` 1, in `groups` of equal size) or images (`axis` 0) taken together.

    They come back with the size of what they describe: the same number for all that were pooled.
    """
    shape = mean.shape
    split = (groups, -1, shape[1]) if axis == 0 else (shape[0], groups, -1)
    each_mean, each_variance = mean.reshape(split), variance.reshape(split)
    over = 1 if axis == 0 else 2
    whole = each_mean.mean(axis=over, keepdims=True)
    spread = (each_variance + (each_mean - whole) ** 2).mean(axis=over, keepdims=True)
    return tuple(jnp.broadcast_to(part, each_mean.shape).reshape(shape) for part in (whole, spread))


def instance_norm(x: Image) -> Image:
    """Give each channel of each image zero mean and unit variance (no learned parameters)."""
    exact = x.astype(jnp.float32)
    mean, variance = moments(exact)
    scale = jax.lax.rsqrt(variance + EPSILON)
    return scale_and_shift(exact, scale, -mean * scale).astype(x.dtype)


def adaptive_instance_norm(x: Image, scale: ByChannel, shift: ByChannel) -> Image:
    """AdaIN: instance norm, then the scale and shift that a style prescribes (MUNIT, section 5.1)."""
    exact = x.astype(jnp.float32)
    mean, variance = moments(exact)
    scale = scale * jax.lax.rsqrt(variance + EPSILON)
    return scale_and_shift(exact, scale, shift - mean * scale).astype(x.dtype)


class LayerNorm(nnx.Module):
    """MUNIT's layer norm: statistics over a whole image, a scale and a shift for each channel.

    As in MUNIT's decoder, the deviation is the unbiased one, epsilon is added to it rather than to the
    variance, and scales start uniform in [0, 1].
    """

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the layer for `channels` channels."""
        self.scale = nnx.Param(jax.random.uniform(rngs.params(), (channels,)))
        self.shift = nnx.Param(jnp.zeros((channels,)))

    def __call__(self, x: Image) -> Image:
        """Normalise `x`."""
        exact = x.astype(jnp.float32)
        mean, variance = pooled(*moments(exact))
        values = math.prod(x.shape[1:])
        scale = self.scale[...] / (jnp.sqrt(variance * values / (values - 1)) + EPSILON)
        return scale_and_shift(exact, scale, self.shift[...] - mean * scale).astype(x.dtype)


class GroupNorm(nnx.GroupNorm):
    """Flax's group norm, computed from the moments of channels."""

    def __call__(self, x: Image) -> Image:
        """Normalise `x`, in the type in which the layer computes."""
        exact = x.astype(jnp.float32)
        mean, variance = pooled(*moments(exact), groups=self.num_groups)
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.epsilon)
        return scale_and_shift(exact, scale, self.bias[...] - mean * scale).astype(self.dtype or x.dtype)


class BatchNorm(nnx.BatchNorm):
    """Flax's batch norm with this project's momentum, computed from the moments of channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the layer for `channels` channels."""
        super().__init__(channels, momentum=MOMENTUM, rngs=rngs)

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Normalise `x`: by itself in training, which updates the running statistics, else by those."""
        exact = x.astype(jnp.float32)
        by_channel = x.shape[0], x.shape[-1]
        mean, variance = (jnp.broadcast_to(running[...], by_channel) for running in (self.mean, self.var))
        if train:
            mean, variance = pooled(*moments(exact), axis=0)
            self.mean[...] = self._forgetful(self.mean[...], mean[0])
            self.var[...] = self._forgetful(self.var[...], variance[0])
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.epsilon)
        return scale_and_shift(exact, scale, self.bias[...] - mean * scale).astype(self.dtype or x.dtype)

    def _forgetful(self, running: Float[Array, " c"], new: Float[Array, " c"]) -> Float[Array, " c"]:
        return jax.lax.stop_gradient(self.momentum * running + (1 - self.momentum) * new)
