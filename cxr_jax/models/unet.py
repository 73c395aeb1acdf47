"""U-Net (Ronneberger et al. 2015), the paper's M_A."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models.convolution import same_conv
from cxr_jax.models.layers import Image, UpConv, check_size, check_width, max_pool
from cxr_jax.models.normalisation import GroupNorm

GROUPS = 8


class DoubleConv(nnx.Module):
    """Twice: 3x3 convolution, group norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, rngs: nnx.Rngs):
        """Make the block."""
        channels = (channels_in, channels_out)
        self.convs = nnx.List([same_conv(number, channels_out, 3, rngs=rngs) for number in channels])
        self.norms = nnx.List([GroupNorm(channels_out, num_groups=GROUPS, rngs=rngs) for _ in channels])

    def __call__(self, x: Image) -> Image:
        """Apply the block; the size stays."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = jax.nn.relu(norm(conv(x)))
        return x


class UNet(nnx.Module):
    """Symmetric encoder and decoder with concatenating skips.

    As published, but for padded convolutions (the mask has the image's size), no dropout, and group norm in front of
    each ReLU (the paper's PyTorch code base used batch norm; group norm does the same on batches of four and makes
    a prediction independent of its batch). Width 64 and depth 4 are the published ones: 31 M parameters.
    """

    def __init__(self, width: int = 64, depth: int = 4, *, rngs: nnx.Rngs):
        """Make a U-Net with `depth` poolings whose first stage has `width` channels, a multiple of 8 (the groups)."""
        check_width(width, GROUPS)
        widths = [width * 2**level for level in range(depth + 1)]
        self.encoder = nnx.List([DoubleConv(i, o, rngs=rngs) for i, o in zip([1, *widths[:-1]], widths, strict=True)])
        self.upconvs = nnx.List([UpConv(w, w // 2, rngs=rngs) for w in reversed(widths[1:])])
        self.decoder = nnx.List([DoubleConv(w, w // 2, rngs=rngs) for w in reversed(widths[1:])])
        self.head = nnx.Conv(width, 1, (1, 1), rngs=rngs)

    @staticmethod
    def size_multiple(depth: int = 4, **_) -> int:
        """Return the number by which height and width must be divisible."""
        return 2**depth

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b h w 1"]:
        """Return the logits of the foreground for images in [-1, 1]; training and inference do not differ."""
        check_size(images, self.size_multiple(depth=len(self.upconvs)))
        skips = []
        x = images
        for stage in self.encoder:
            x = stage(max_pool(x) if skips else x)
            skips.append(x)
        for upconv, stage, skip in zip(self.upconvs, self.decoder, reversed(skips[:-1]), strict=True):
            x = stage(jnp.concatenate([skip, upconv(x)], axis=-1))
        return self.head(x).astype(jnp.float32)
