"""CycleGAN (Zhu et al. 2017): one residual generator a direction, held together by the cycle and by identity."""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.losses import mean_absolute_error
from cxr_jax.models.layers import GAUSSIAN, Image, PaddedConv, ResidualBlock, UpConv
from cxr_jax.models.normalisation import instance_norm
from cxr_jax.models.translator import Gray, GrayA, GrayB, Reference


class UpBlock(nnx.Module):
    """Transposed convolution, instance norm, ReLU: doubles height and width."""

    def __init__(self, channels_in: int, channels_out: int, *, rngs: nnx.Rngs):
        """Make the block."""
        self.up = UpConv(channels_in, channels_out, rngs=rngs)

    def __call__(self, x: Image) -> Image:
        """Apply the block."""
        return jax.nn.relu(instance_norm(self.up(x)))


class Generator(nnx.Module):
    """7x7 convolution, down-samplings, residual blocks, up-samplings, 7x7 convolution and tanh (its appendix).

    There an up-sampling's kernel is 3x3; here it is 2x2, which is one matrix product. Convolutions begin as there,
    residual blocks and up-samplings as MUNIT's.
    """

    def __init__(self, width: int, downsamplings: int, blocks: int, *, rngs: nnx.Rngs):
        """Make the generator, whose residual blocks have `width * 2**downsamplings` channels."""
        widths = [width * 2**level for level in range(downsamplings + 1)]
        options = {"norm": instance_norm, "kernel_init": GAUSSIAN, "rngs": rngs}
        self.stem = PaddedConv(1, width, 7, padding=3, **options)
        self.down = nnx.List(
            [PaddedConv(i, o, 3, stride=2, padding=1, **options) for i, o in itertools.pairwise(widths)]
        )
        self.blocks = nnx.List([ResidualBlock(widths[-1], rngs=rngs) for _ in range(blocks)])
        self.up = nnx.List([UpBlock(i, o, rngs=rngs) for i, o in itertools.pairwise(widths[::-1])])
        self.head = PaddedConv(width, 1, 7, padding=3, activation=jnp.tanh, kernel_init=GAUSSIAN, rngs=rngs)

    def __call__(self, images: Gray) -> Gray:
        """Translate images in [-1, 1]."""
        x = self.stem(images)
        for layer in [*self.down, *self.blocks, *self.up]:
            x = layer(x)
        return self.head(x).astype(jnp.float32)


class CycleGAN(nnx.Module):
    """Both generators, G_AB and G_BA. Translation is deterministic, so keys go unused and no reference is kept."""

    TERMS = ("cycle", "identity")

    def __init__(self, width: int = 64, downsamplings: int = 2, blocks: int = 9, *, rngs: nnx.Rngs):
        """Make the translator; 9 blocks are the paper's for 256x256, 6 for 128x128."""
        self.a_to_b = Generator(width, downsamplings, blocks, rngs=rngs)
        self.b_to_a = Generator(width, downsamplings, blocks, rngs=rngs)

    @staticmethod
    def size_multiple(downsamplings: int = 2, **_) -> int:
        """Return the number by which height and width must be divisible."""
        return 2**downsamplings

    def doors_of_b(self) -> None:
        """Return that translation cannot start from negatives: `identity` would turn it back."""

    def translate(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayB]:
        """Return G_AB(a) and G_BA(b)."""
        return self.a_to_b(a), self.b_to_a(b)

    def objectives(
        self, a: GrayA, b: GrayB, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], tuple[GrayA, GrayB]]:
        """Return the unweighted losses by name and (G_AB(a), G_BA(b)).

        `cycle`: an image comes back from its translation (equation 2); `identity`: a generator leaves an image
        of the domain it translates to as it is (section 5.2).
        """
        a_to_b, b_to_a = self.a_to_b(a), self.b_to_a(b)
        terms = {
            "cycle": mean_absolute_error(self.b_to_a(a_to_b), a) + mean_absolute_error(self.a_to_b(b_to_a), b),
            "identity": mean_absolute_error(self.b_to_a(a), a) + mean_absolute_error(self.a_to_b(b), b),
        }
        return terms, (a_to_b, b_to_a)

    def there_and_back(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayA]:
        """Return G_AB(a) and G_BA(G_AB(a)) (Figure 6a of the transfer's paper)."""
        a_to_b = self.a_to_b(a)
        return a_to_b, self.b_to_a(a_to_b)

    def reference(self, a: GrayA, b: GrayB) -> Reference:
        """Return what translating to a dataset asks to know of it: nothing."""
        return {}

    def to_a(self, b: Gray, reference: Reference) -> Gray:
        """Return G_BA(b) (Figure 6b)."""
        return self.b_to_a(b)

    def to_b(self, a: Gray, reference: Reference) -> Gray:
        """Return G_AB(a)."""
        return self.a_to_b(a)
