"""InvertedNet (Novikov et al. 2018, "Fully convolutional architectures for multi-class segmentation in chest
radiographs")."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models.convolution import same_conv
from cxr_jax.models.layers import Image, check_size, check_width, dropout_keys, identity, max_pool

RATE = 0.25


def gaussian_dropout(x: Image, rate: float, key: PRNGKeyArray) -> Image:
    """Multiply each value by noise of mean 1 and of the variance that dropout of that rate has."""
    return x * (1 + (rate / (1 - rate)) ** 0.5 * jax.random.normal(key, x.shape, x.dtype))


def max_pool_in_place(x: Image) -> Image:
    """2x2 max pooling with stride 1: each pixel with its right, lower and lower right neighbour."""
    rows = jnp.maximum(x, jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1))
    return jnp.maximum(rows, jnp.concatenate([rows[:, :, 1:], rows[:, :, -1:]], axis=2))


def upsample(x: Image) -> Image:
    """Double height and width by repeating pixels."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


POOLINGS = (max_pool_in_place, max_pool, max_pool, max_pool)
UPSAMPLINGS = (upsample, upsample, upsample, identity)


class DoubleConv(nnx.Module):
    """Twice: 3x3 convolution, ELU, Gaussian dropout."""

    def __init__(self, channels_in: int, channels_out: int, *, rngs: nnx.Rngs):
        """Make the block."""
        channels = (channels_in, channels_out)
        self.convs = nnx.List([same_conv(number, channels_out, 3, rngs=rngs) for number in channels])

    def __call__(self, x: Image, key: PRNGKeyArray | None) -> Image:
        """Apply the block; the size stays. Without a key nothing is dropped."""
        for number, conv in enumerate(self.convs):
            x = jax.nn.elu(conv(x))
            x = x if key is None else gaussian_dropout(x, RATE, jax.random.fold_in(key, number))
        return x


class InvertedNet(nnx.Module):
    """A U-Net with many feature maps at high resolution and few at low, which subsamples late.

    The paper's: 256 feature maps first, halved after each of four poolings and doubled after each upsampling;
    pairs of padded 3x3 convolutions; ELU; dropout behind each convolution's activation; concatenating skips;
    upsampling without parameters. These layers have exactly the 3 140 771 parameters that it reports for three
    classes; with one logit there are 3 140 257.
    Known in words only, and decided here: "delayed subsampling" is a first pooling of stride 1, so that the
    first two stages of either side keep the image's size; dropout is Gaussian, with the same rate of 0.25
    everywhere; upsampling repeats pixels; weights start as Kaiming's.
    """

    def __init__(self, width: int = 256, *, rngs: nnx.Rngs):
        """Make an InvertedNet whose first stage has `width` channels, a multiple of 16 (halved four times)."""
        check_width(width, 2 ** len(POOLINGS))
        widths = [width // 2**level for level in range(len(POOLINGS) + 1)]
        self.encoder = nnx.List([DoubleConv(i, o, rngs=rngs) for i, o in zip([1, *widths[:-1]], widths, strict=True)])
        self.decoder = nnx.List([DoubleConv(3 * w, 2 * w, rngs=rngs) for w in reversed(widths[1:])])
        self.head = nnx.Conv(width, 1, (1, 1), rngs=rngs)

    @staticmethod
    def size_multiple(**_) -> int:
        """Return the number by which height and width must be divisible: the first pooling keeps the size."""
        return 2 ** UPSAMPLINGS.count(upsample)

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b h w 1"]:
        """Return the logits of the foreground for images in [-1, 1]; training needs a key."""
        check_size(images, self.size_multiple())
        stages = len(self.encoder) + len(self.decoder)
        keys = iter(dropout_keys(key, stages)) if train else itertools.repeat(None)
        skips = []
        x = images
        for pool, stage in zip((identity, *POOLINGS), self.encoder, strict=True):
            x = stage(pool(x), next(keys))
            skips.append(x)
        for up, stage, skip in zip(UPSAMPLINGS, self.decoder, reversed(skips[:-1]), strict=True):
            x = stage(jnp.concatenate([skip, up(x)], axis=-1), next(keys))
        return self.head(x).astype(jnp.float32)
