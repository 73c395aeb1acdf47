"""FCN-8s on VGG-16 (Long, Shelhamer and Darrell 2015)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models import vgg
from cxr_jax.models.convolution import ConvByProduct
from cxr_jax.models.layers import KAIMING, check_size, check_width, dropout, dropout_keys, max_pool

Scores = Float[Array, "b _ _ 1"]
RATE = 0.5


class LearnedUpsampling(nnx.Module):
    """Transposed convolution of a score map that starts as bilinear upsampling by an even factor.

    The kernel is twice as wide as the factor, the stride, and half a factor of each border is cut off. Written
    as a product and four shifted sums: backends have no fast transposed convolution of one channel.
    """

    def __init__(self, factor: int, *, rngs: nnx.Rngs):
        """Make the layer; the kernel is not drawn."""
        tent = 1 - np.abs(np.arange(2 * factor) - (factor - 0.5)) / factor
        self.kernel = nnx.Param(jnp.asarray(np.outer(tent, tent), jnp.float32))
        self.factor = factor

    def __call__(self, x: Scores) -> Scores:
        """Multiply height and width of `x` by the factor."""
        b, h, w, _ = x.shape
        f = self.factor
        quarters = jnp.einsum("bhw,siuj->subhiwj", x[..., 0], self.kernel[...].reshape(2, f, 2, f))
        whole = jnp.zeros((b, f * (h + 1), f * (w + 1)), x.dtype)
        for s, u in np.ndindex(2, 2):
            quarter = quarters[s, u].reshape(b, f * h, f * w)
            whole += jnp.pad(quarter, ((0, 0), (s * f, (1 - s) * f), (u * f, (1 - u) * f)))
        return whole[:, f // 2 : f // 2 + f * h, f // 2 : f // 2 + f * w, None]


class FCN(nnx.Module):
    """VGG-16 with its fully connected layers as convolutions, and scores of three depths fused by addition.

    The paper's: the layers, dropout behind fc6 and fc7, one 1x1 score layer each on pool3, pool4 and fc7, and
    transposed convolutions by 2, 2 and 8 that start bilinear; its size is 134 M parameters. Differences:

    - padding keeps the size everywhere; the paper pads the image by 100 pixels and crops each score map;
    - one logit instead of a score for each class, and one input channel;
    - all three transposed convolutions learn, the paper fixes the last one;
    - score layers start random, the paper's at zero (it found neither better);
    - nothing is pre-trained on ImageNet. Thirteen layers of ReLU hardly train from scratch, so batch norm follows
      each 3x3 convolution unless `batch_norm` is false: the layout known as VGG-16-BN.
    """

    def __init__(self, width: int = 64, batch_norm: bool = True, *, rngs: nnx.Rngs):
        """Make an FCN whose stages have 1, 2, 4, 8 and 8 times `width` channels, and fc6 and fc7 64 times."""
        check_width(width)
        self.stages = nnx.List(vgg.encoder(width, batch_norm=batch_norm, rngs=rngs))
        self.fc6 = ConvByProduct(8 * width, 64 * width, 7, kernel_init=KAIMING, rngs=rngs)
        self.fc7 = nnx.Conv(64 * width, 64 * width, (1, 1), kernel_init=KAIMING, rngs=rngs)
        self.score_pool3 = nnx.Conv(4 * width, 1, (1, 1), rngs=rngs)
        self.score_pool4 = nnx.Conv(8 * width, 1, (1, 1), rngs=rngs)
        self.score_fc7 = nnx.Conv(64 * width, 1, (1, 1), rngs=rngs)
        self.up_fc7 = LearnedUpsampling(2, rngs=rngs)
        self.up_pool4 = LearnedUpsampling(2, rngs=rngs)
        self.up_pool3 = LearnedUpsampling(8, rngs=rngs)

    @staticmethod
    def size_multiple(**_) -> int:
        """Return the number by which height and width must be divisible."""
        return 32

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "b h w 1"]:
        """Return the logits of the foreground for images in [-1, 1]; training needs a key."""
        check_size(images, self.size_multiple())
        keys = dropout_keys(key, 2) if train else []
        pools = []
        x = images
        for stage in self.stages:
            x = max_pool(stage(x, train=train))
            pools.append(x)
        x = jax.nn.relu(self.fc6(x))
        x = dropout(x, RATE, keys[0]) if train else x
        x = jax.nn.relu(self.fc7(x))
        x = dropout(x, RATE, keys[1]) if train else x
        scores = self.up_fc7(self.score_fc7(x)) + self.score_pool4(pools[3])
        scores = self.up_pool4(scores) + self.score_pool3(pools[2])
        return self.up_pool3(scores).astype(jnp.float32)
