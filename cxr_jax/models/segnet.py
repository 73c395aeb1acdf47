"""SegNet (Badrinarayanan, Kendall and Cipolla 2017)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models import vgg
from cxr_jax.models.layers import check_size, check_width, max_pool_with_indices, max_unpool


class SegNet(nnx.Module):
    """VGG-16's convolutions and their mirror image, which unpools with the indices of the poolings.

    The paper's: 13 layers of 3x3 convolution and batch norm each way, ReLU in the encoder, 2x2 max pooling, and
    upsampling that learns nothing: each value goes back to where the encoder's pooling of the same resolution
    took its maximum. The paper is unclear about a ReLU in the decoder; there is one here, as in its authors'
    network. The last layer of the decoder makes `width` channels, from which a 1x1 convolution makes one logit
    (the paper's classifier makes a score for each class). Nothing is pre-trained. 29.4 M parameters.
    """

    def __init__(self, width: int = 64, *, rngs: nnx.Rngs):
        """Make a SegNet whose stages have 1, 2, 4, 8 and 8 times `width` channels."""
        check_width(width)
        self.encoder = nnx.List(vgg.encoder(width, rngs=rngs))
        stages = [[multiple * width] * convolutions for multiple, convolutions in reversed(vgg.LAYOUT)]
        targets = [stage[0] for stage in stages[1:]] + [width]
        self.decoder = nnx.List(
            [vgg.ConvStage([*stage, target], rngs=rngs) for stage, target in zip(stages, targets, strict=True)]
        )
        self.head = nnx.Conv(width, 1, (1, 1), rngs=rngs)

    @staticmethod
    def size_multiple(**_) -> int:
        """Return the number by which height and width must be divisible."""
        return 32

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b h w 1"]:
        """Return the logits of the foreground for images in [-1, 1]; no key is needed."""
        check_size(images, self.size_multiple())
        all_indices = []
        x = images
        for stage in self.encoder:
            x, indices = max_pool_with_indices(stage(x, train=train))
            all_indices.append(indices)
        for stage, indices in zip(self.decoder, reversed(all_indices), strict=True):
            x = stage(max_unpool(x, indices), train=train)
        return self.head(x).astype(jnp.float32)
