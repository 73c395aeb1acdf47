"""Normalisations: the moments of each channel of each image, then one scale and one shift for it.

All are written as those two functions, whose gradients are given here. They need no other sums over pixels than
`_sum_pixels`, which is the one that a CPU has a slow path for. Moments and their gradients are computed in fp32.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

MOMENTUM = 0.9  # of the running statistics of batch norm: they forget with a half-life of seven steps

Image = Float[Array, "b h w c"]
ByChannel = Float[Array, "b c"]


def _sum_pixels(x: Image) -> ByChannel:
    """Sum each channel of each image, in fp32; on a CPU as a product with ones, several times a reduction's speed."""

    def product(x: Float[Array, "b p c"]) -> ByChannel:
        ones = jnp.ones((*x.shape[:2], 1), jnp.float32)
        return jax.lax.dot_general(ones, x, (((1,), (1,)), ((0,), (0,))))[:, 0]

    exact = x.astype(jnp.float32).reshape(len(x), -1, x.shape[-1])
    return jax.lax.platform_dependent(exact, cpu=product, default=lambda x: x.sum(axis=1))


@jax.custom_vjp
def moments(x: Image) -> tuple[ByChannel, ByChannel]:
    """Return mean and (biased) variance of each channel of each image, in fp32."""
    return _moments(x)[0]


def _moments(x: Image) -> tuple[tuple[ByChannel, ByChannel], tuple[Image, ByChannel]]:
    pixels = x.shape[1] * x.shape[2]
    mean = _sum_pixels(x) / pixels
    centred = x.astype(jnp.float32) - mean[:, None, None]
    return (mean, _sum_pixels(centred * centred) / pixels), (x, mean)


def _moments_gradient(kept: tuple[Image, ByChannel], of: tuple[ByChannel, ByChannel]) -> tuple[Image]:
    x, mean = kept
    of_mean, of_variance = (part[:, None, None] / (x.shape[1] * x.shape[2]) for part in of)
    return ((of_mean + 2 * of_variance * (x.astype(jnp.float32) - mean[:, None, None])).astype(x.dtype),)


moments.defvjp(_moments, _moments_gradient)


@jax.custom_vjp
def scale_and_shift(x: Image, scale: ByChannel, shift: ByChannel) -> Image:
    """Return `scale * x + shift`, each channel of each image with its own (fp32) numbers, in the type of `x`."""
    return (x.astype(jnp.float32) * scale[:, None, None] + shift[:, None, None]).astype(x.dtype)


def _scale_and_shift(x: Image, scale: ByChannel, shift: ByChannel) -> tuple[Image, tuple[Image, ByChannel]]:
    return scale_and_shift(x, scale, shift), (x, scale)


def _scale_and_shift_gradient(kept: tuple[Image, ByChannel], of: Image) -> tuple[Image, ByChannel, ByChannel]:
    x, scale = kept
    exact = of.astype(jnp.float32)
    of_x = (exact * scale[:, None, None]).astype(x.dtype)
    return of_x, _sum_pixels(exact * x.astype(jnp.float32)), _sum_pixels(exact)


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


def instance_norm(x: Image, epsilon: float = 1e-5) -> Image:
    """Give each channel of each image zero mean and unit variance (no learned parameters)."""
    mean, variance = moments(x)
    scale = jax.lax.rsqrt(variance + epsilon)
    return scale_and_shift(x, scale, -mean * scale)


def adaptive_instance_norm(x: Image, scale: ByChannel, shift: ByChannel, epsilon: float = 1e-5) -> Image:
    """AdaIN: instance norm, then the scale and shift that a style prescribes (MUNIT, section 5.1)."""
    mean, variance = moments(x)
    scale = scale * jax.lax.rsqrt(variance + epsilon)
    return scale_and_shift(x, scale, shift - mean * scale)


class LayerNorm(nnx.Module):
    """MUNIT's layer norm: statistics over a whole image, a scale and a shift for each channel.

    As in MUNIT's decoder, the deviation is the unbiased one, epsilon is added to it rather than to the
    variance, and scales start uniform in [0, 1].
    """

    def __init__(self, channels: int, *, epsilon: float = 1e-5, rngs: nnx.Rngs):
        """Make the layer for `channels` channels."""
        self.scale = nnx.Param(jax.random.uniform(rngs.params(), (channels,)))
        self.shift = nnx.Param(jnp.zeros((channels,)))
        self.epsilon = epsilon

    def __call__(self, x: Image) -> Image:
        """Normalise `x`."""
        mean, variance = pooled(*moments(x))
        values = x[0].size
        scale = self.scale[...] / (jnp.sqrt(variance * values / (values - 1)) + self.epsilon)
        return scale_and_shift(x, scale, self.shift[...] - mean * scale)


class GroupNorm(nnx.GroupNorm):
    """Flax's group norm, computed from the moments of channels."""

    def __call__(self, x: Image) -> Image:
        """Normalise `x`, in the type in which the layer computes."""
        x = x if self.dtype is None else x.astype(self.dtype)
        mean, variance = pooled(*moments(x), groups=self.num_groups)
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.epsilon)
        return scale_and_shift(x, scale, self.bias[...] - mean * scale)


class BatchNorm(nnx.BatchNorm):
    """Flax's batch norm with this project's momentum, computed from the moments of channels."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the layer for `channels` channels."""
        super().__init__(channels, momentum=MOMENTUM, rngs=rngs)

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Normalise `x`: by itself in training, which updates the running statistics, else by those."""
        x = x if self.dtype is None else x.astype(self.dtype)
        mean, variance = (jnp.broadcast_to(running[...], (len(x), x.shape[-1])) for running in (self.mean, self.var))
        if train:
            mean, variance = pooled(*moments(x), axis=0)
            self.mean[...] = self._forgetful(self.mean[...], mean[0])
            self.var[...] = self._forgetful(self.var[...], variance[0])
        scale = self.scale[...] * jax.lax.rsqrt(variance + self.epsilon)
        return scale_and_shift(x, scale, self.bias[...] - mean * scale)

    def _forgetful(self, running: Float[Array, " c"], new: Float[Array, " c"]) -> Float[Array, " c"]:
        return jax.lax.stop_gradient(self.momentum * running + (1 - self.momentum) * new)
