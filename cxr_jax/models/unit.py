"""UNIT (Liu, Breuel and Kautz 2017): both domains share one latent space, in which an image is a Gaussian.

The layers next to the latent code, the encoders' last and the decoders' first residual block, are one for both
domains (its section 3, "weight-sharing"); they belong to the translator, so that no parameter has two owners.
A domain's own encoder has the layers of MUNIT's content encoder. Translation decodes the mean code; noise of unit
variance is added in training alone.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.losses import mean_absolute_error
from cxr_jax.models.layers import PaddedConv, ResidualBlock, UpsampledConv
from cxr_jax.models.munit import ContentEncoder
from cxr_jax.models.normalisation import LayerNorm
from cxr_jax.models.translator import Gray, GrayA, GrayB, Reference

Code = Float[Array, "b p q c"]  # p, q: height and width down-sampled


class Decoder(nnx.Module):
    """The part of a decoder that is a domain's own: residual blocks, up-samplings, 7x7 convolution and tanh."""

    def __init__(self, width: int, upsamplings: int, blocks: int, *, rngs: nnx.Rngs):
        """Make the layers."""
        widths = [width * 2**level for level in range(upsamplings, -1, -1)]
        self.blocks = nnx.List([ResidualBlock(widths[0], rngs=rngs) for _ in range(blocks)])
        self.up = nnx.List(
            [UpsampledConv(i, o, norm=LayerNorm(o, rngs=rngs), rngs=rngs) for i, o in itertools.pairwise(widths)]
        )
        self.head = PaddedConv(width, 1, 7, padding=3, activation=jnp.tanh, rngs=rngs)

    def __call__(self, code: Code) -> Gray:
        """Decode to images in [-1, 1]."""
        x = code
        for layer in [*self.blocks, *self.up]:
            x = layer(x)
        return self.head(x).astype(jnp.float32)


class UNIT(nnx.Module):
    """Two variational auto-encoders with tied inner layers: G_AB decodes A's code as an image of B."""

    TERMS = ("image", "kl", "cycle", "kl_cycle")

    def __init__(self, width: int = 32, downsamplings: int = 2, blocks: int = 2, *, rngs: nnx.Rngs):
        """Make the translator; of `blocks` residual blocks in each encoder and decoder one is shared.

        Both domains start from the same weights, for the reason that MUNIT's do.
        """
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, the shared one, found {blocks}")
        key = rngs.params()
        options = {"width": width, "blocks": blocks - 1}
        self.encode_a, self.encode_b = (
            ContentEncoder(downsamplings=downsamplings, **options, rngs=nnx.Rngs(params=key)) for _ in range(2)
        )
        key = rngs.params()
        self.decode_a, self.decode_b = (
            Decoder(upsamplings=downsamplings, **options, rngs=nnx.Rngs(params=key)) for _ in range(2)
        )
        self.shared_encoder = ResidualBlock(width * 2**downsamplings, rngs=rngs)
        self.shared_decoder = ResidualBlock(width * 2**downsamplings, rngs=rngs)

    @staticmethod
    def size_multiple(downsamplings: int = 2, **_) -> int:
        """Return the number by which height and width must be divisible."""
        return 2**downsamplings

    def doors_of_b(self) -> tuple[list[PaddedConv], PaddedConv]:
        """Return the layers that images of B enter by, and the one by which they come out, in front of its tanh."""
        return [self.encode_b.stem], self.decode_b.head

    def code_a(self, images: Gray) -> Code:
        """Return the mean latent codes of images of A."""
        return self.shared_encoder(self.encode_a(images))

    def code_b(self, images: Gray) -> Code:
        """Return the mean latent codes of images of B."""
        return self.shared_encoder(self.encode_b(images))

    def image_a(self, code: Code) -> Gray:
        """Decode latent codes to images of A."""
        return self.decode_a(self.shared_decoder(code))

    def image_b(self, code: Code) -> Gray:
        """Decode latent codes to images of B."""
        return self.decode_b(self.shared_decoder(code))

    def translate(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayB]:
        """Return G_AB(a) and G_BA(b) from noisy codes, as the discriminators see them."""
        key_a, key_b = jax.random.split(key)
        return self.image_b(_noisy(self.code_a(a), key_a)), self.image_a(_noisy(self.code_b(b), key_b))

    def objectives(
        self, a: GrayA, b: GrayB, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], tuple[GrayA, GrayB]]:
        """Return the unweighted losses by name and (G_AB(a), G_BA(b)) (UNIT, equation 2).

        `image` and `kl`: each image is rebuilt from its noisy code, which stays near the standard normal
        (equation 3); `cycle` and `kl_cycle`: the same by way of the other domain (equation 5).
        """
        key_a, key_b, key_cycle_a, key_cycle_b = jax.random.split(key, 4)
        code_a, code_b = self.code_a(a), self.code_b(b)
        noisy_a, noisy_b = _noisy(code_a, key_a), _noisy(code_b, key_b)
        a_to_b, b_to_a = self.image_b(noisy_a), self.image_a(noisy_b)
        found_a, found_b = self.code_b(a_to_b), self.code_a(b_to_a)
        back_a, back_b = self.image_a(_noisy(found_a, key_cycle_a)), self.image_b(_noisy(found_b, key_cycle_b))
        terms = {
            "image": mean_absolute_error(self.image_a(noisy_a), a) + mean_absolute_error(self.image_b(noisy_b), b),
            "kl": _kl(code_a) + _kl(code_b),
            "cycle": mean_absolute_error(back_a, a) + mean_absolute_error(back_b, b),
            "kl_cycle": _kl(found_a) + _kl(found_b),
        }
        return terms, (a_to_b, b_to_a)

    def there_and_back(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayA]:
        """Return G_AB(a), from a noisy code, and G_BA(G_AB(a)) (Figure 6a of the transfer's paper)."""
        a_to_b = self.image_b(_noisy(self.code_a(a), key))
        return a_to_b, self.image_a(self.code_b(a_to_b))

    def reference(self, a: GrayA, b: GrayB) -> Reference:
        """Return what translating to a dataset asks to know of it: nothing."""
        return {}

    def to_a(self, b: Gray, reference: Reference) -> Gray:
        """Return G_BA(b), from the mean code (Figure 6b)."""
        return self.image_a(self.code_b(b))

    def to_b(self, a: Gray, reference: Reference) -> Gray:
        """Return G_AB(a), from the mean code."""
        return self.image_b(self.code_a(a))


def _noisy(code: Code, key: PRNGKeyArray) -> Code:
    """Draw from the Gaussians of unit variance around the codes."""
    return code + jax.random.normal(key, code.shape, code.dtype)


def _kl(code: Code) -> Float[Array, ""]:
    """Divergence of unit-variance Gaussians around the codes from the standard normal, a dimension: mean(code²) / 2."""
    return 0.5 * jnp.square(code.astype(jnp.float32)).mean()
