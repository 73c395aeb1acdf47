"""SCAN (Dai et al. 2018): a small residual segmenter and the critic that judges pairs of image and mask.

The paper's: fully convolutional residual networks with few feature maps, 8 in the first layer, because a few
hundred radiographs are all there is to learn from; a segmenter of 271 k parameters, some 500 times fewer than FCN's;
a critic of 258 k that sees image and masks as channels, mirrors the segmenter's layers up to its lowest
resolution and ends in global average pooling. The counts hold within 2 % here.
Decided here, for want of the paper's figure: the numbers of residual blocks, their pre-activation order with
batch norm, 2x2 max pooling, atrous convolutions instead of a fourth pooling, learned upsampling by 2x2 transposed
convolutions without skips, and a single mask instead of one for each organ.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models.convolution import same_conv
from cxr_jax.models.layers import Image, UpConv, check_size, check_width, identity, max_pool
from cxr_jax.models.normalisation import BatchNorm

RATES = ((1, 1), (1, 1, 1), (1, 1), (1, 2, 4))  # of the blocks of each stage; a pooling between two stages
LAST_BLOCKS = 2  # of the segmenter, at the image's size
MULTIPLE = 2 ** (len(RATES) - 1)


class NormRelu(nnx.Module):
    """Batch norm and ReLU."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the layer."""
        self.norm = BatchNorm(channels, rngs=rngs)

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Apply the layer; training normalises by the batch and updates the running statistics."""
        return jax.nn.relu(self.norm(x, train=train))


class ResidualBlock(nnx.Module):
    """x + conv(conv(x)), batch norm and ReLU in front of each 3x3 convolution."""

    def __init__(self, channels_in: int, channels_out: int, rate: int = 1, *, rngs: nnx.Rngs):
        """Make the block; kernels reach `rate` pixels, and x is projected where the channels differ."""
        channels = (channels_in, channels_out)
        options = {"kernel_dilation": rate, "use_bias": False, "rngs": rngs}
        self.norms = nnx.List([NormRelu(number, rngs=rngs) for number in channels])
        self.convs = nnx.List([same_conv(number, channels_out, 3, **options) for number in channels])
        self.shortcut = identity if channels_in == channels_out else same_conv(channels_in, channels_out, 1, **options)

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Apply the block; the size stays."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(norm(y, train=train))
        return self.shortcut(x) + y


class Trunk(nnx.Module):
    """7x7 convolution, then stages of residual blocks of 1, 2, 4 and 8 times `width` channels."""

    def __init__(self, channels_in: int, width: int, *, rngs: nnx.Rngs):
        """Make the layers."""
        check_width(width)
        self.stem = same_conv(channels_in, width, 7, use_bias=False, rngs=rngs)
        self.stages = nnx.List()
        channels = width
        for level, rates in enumerate(RATES):
            blocks = nnx.List()
            for rate in rates:
                blocks.append(ResidualBlock(channels, width * 2**level, rate, rngs=rngs))
                channels = width * 2**level
            self.stages.append(blocks)

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Return features at an eighth of the size of `x`."""
        check_size(x, MULTIPLE)
        x = self.stem(x)
        for level, blocks in enumerate(self.stages):
            x = max_pool(x) if level else x
            for block in blocks:
                x = block(x, train=train)
        return x


class SCAN(nnx.Module):
    """The segmenter: the trunk, upsampling and two more residual blocks (see the top of this file)."""

    def __init__(self, width: int = 8, *, rngs: nnx.Rngs):
        """Make a segmenter whose first layer has `width` channels."""
        self.trunk = Trunk(1, width, rngs=rngs)
        widths = [width * 2**level for level in range(len(RATES) - 1, 0, -1)]
        self.norms = nnx.List([NormRelu(w, rngs=rngs) for w in widths])
        self.upconvs = nnx.List([UpConv(w, w // 2, rngs=rngs) for w in widths])
        self.blocks = nnx.List([ResidualBlock(width, width, rngs=rngs) for _ in range(LAST_BLOCKS)])
        self.norm = NormRelu(width, rngs=rngs)
        self.head = nnx.Conv(width, 1, (1, 1), rngs=rngs)

    @staticmethod
    def size_multiple(**_) -> int:
        """Return the number by which height and width must be divisible."""
        return MULTIPLE

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b h w 1"]:
        """Return the logits of the foreground for images in [-1, 1]; no key is needed."""
        x = self.trunk(images, train=train)
        for norm, upconv in zip(self.norms, self.upconvs, strict=True):
            x = upconv(norm(x, train=train))
        for block in self.blocks:
            x = block(x, train=train)
        return self.head(self.norm(x, train=train)).astype(jnp.float32)


class SCANCritic(nnx.Module):
    """The critic: the trunk on image and mask, global average pooling, one logit (see the top of this file)."""

    def __init__(self, width: int = 8, *, rngs: nnx.Rngs):
        """Make a critic whose first layer has `width` channels."""
        self.trunk = Trunk(2, width, rngs=rngs)
        self.norm = NormRelu(width * MULTIPLE, rngs=rngs)
        self.head = nnx.Linear(width * MULTIPLE, 1, rngs=rngs)

    @staticmethod
    def size_multiple(**_) -> int:
        """Return the number by which height and width must be divisible."""
        return MULTIPLE

    def __call__(
        self, images: Float[Array, "b h w 1"], masks: Float[Array, "b h w 1"], *, train: bool = False
    ) -> Float[Array, " b"]:
        """Return the logits of "a person drew this mask" for images in [-1, 1] and masks in [0, 1], soft ones too."""
        x = self.trunk(jnp.concatenate([images, masks], axis=-1), train=train)
        return self.head(self.norm(x, train=train).mean(axis=(1, 2)))[:, 0].astype(jnp.float32)
