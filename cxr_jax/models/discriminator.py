"""Patch discriminator of the translators (MUNIT's, with least-squares outputs)."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from cxr_jax.models.layers import GAUSSIAN, Image, PaddedConv, identity, leaky_relu


def downscale(x: Image) -> Image:
    """Halve the size by 3x3 average pooling with stride 2, averaging over pixels inside the image only."""

    def pool(y: Image) -> Image:
        return jax.lax.reduce_window(y, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 2, 2, 1), ((0, 0), (1, 1), (1, 1), (0, 0)))

    return pool(x) / pool(jnp.ones_like(x))


class PatchDiscriminator(nnx.Module):
    """`layers` 4x4 convolutions of stride 2 and one fully connected layer over each patch's features.

    Two layers at one scale are the paper's ("2 convolutional layers and one FC layer", section V-C); the last
    layer is a 1x1 convolution, that is, the same fully connected layer at every patch, so any image size fits.
    MUNIT's own has 4 layers at 3 scales.
    """

    def __init__(self, width: int = 32, layers: int = 2, *, rngs: nnx.Rngs):
        """Make a discriminator whose first layer has `width` channels."""
        widths = [1] + [width * 2**level for level in range(layers)]
        self.convs = nnx.List(
            [
                PaddedConv(i, o, 4, stride=2, padding=1, activation=leaky_relu, kernel_init=GAUSSIAN, rngs=rngs)
                for i, o in itertools.pairwise(widths)
            ]
        )
        self.head = PaddedConv(widths[-1], 1, 1, padding=0, activation=identity, kernel_init=GAUSSIAN, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w 1"]) -> Float[Array, "b p q 1"]:
        """Return a realness score for each patch; training pulls it to 1 for real and 0 for translated."""
        x = images
        for conv in self.convs:
            x = conv(x)
        return self.head(x).astype(jnp.float32)


class MultiScaleDiscriminator(nnx.Module):
    """One patch discriminator for the image and one for each successive halving of it."""

    def __init__(self, width: int = 32, layers: int = 2, scales: int = 1, *, rngs: nnx.Rngs):
        """Make `scales` patch discriminators."""
        self.scales = nnx.List([PatchDiscriminator(width, layers, rngs=rngs) for _ in range(scales)])

    @staticmethod
    def size_multiple(layers: int = 2, scales: int = 1, **_) -> int:
        """Return the number by which height and width must be divisible."""
        return 2 ** (layers + scales - 1)

    def __call__(self, images: Float[Array, "b h w 1"]) -> list[Float[Array, "b _ _ 1"]]:
        """Return the patch scores of each scale, the finest first."""
        scores = []
        for discriminator in self.scales:
            scores.append(discriminator(images))
            images = downscale(images)
        return scores
