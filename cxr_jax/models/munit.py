"""MUNIT (Huang et al. 2018): unpaired translation by swapping style codes while keeping content codes.

Default sizes are the ones of the paper's authors' release: 2 down-samplings, 2 residual blocks, width 32. The
sizes of MUNIT itself are width 64, 4 residual blocks and an MLP of width 256.
"""

import itertools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.losses import mean_absolute_error
from cxr_jax.models.layers import KAIMING, Image, PaddedConv, ResidualBlock, UpsampledConv, identity
from cxr_jax.models.normalisation import LayerNorm, adaptive_instance_norm, instance_norm
from cxr_jax.models.translator import Gray, GrayA, GrayB, Reference

Content = Float[Array, "b p q c"]  # p, q: height and width down-sampled
Style = Float[Array, "b s"]
StyleA = Float[Array, "n s"]
StyleB = Float[Array, "m s"]

STYLE_DOWNSAMPLINGS = 4


class AdaptiveResidualBlock(nnx.Module):
    """x + conv(conv(x)) whose normalisations are prescribed by a style."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        """Make the block."""
        self.first = PaddedConv(channels, channels, 3, padding=1, activation=identity, rngs=rngs)
        self.second = PaddedConv(channels, channels, 3, padding=1, activation=identity, rngs=rngs)

    def __call__(self, x: Image, adaptation: Float[Array, "b 4 c"]) -> Image:
        """Apply the block; `adaptation` holds scale and shift of the first, then of the second norm."""
        scale, shift, scale_second, shift_second = jnp.moveaxis(adaptation, 1, 0)
        y = jax.nn.relu(adaptive_instance_norm(self.first(x), scale, shift))
        return x + adaptive_instance_norm(self.second(y), scale_second, shift_second)


class ContentEncoder(nnx.Module):
    """Image to content code: 7x7 convolution, down-samplings, residual blocks, all with instance norm."""

    def __init__(self, width: int, downsamplings: int, blocks: int, *, rngs: nnx.Rngs):
        """Make the encoder; its code has `width * 2**downsamplings` channels."""
        self.stem = PaddedConv(1, width, 7, padding=3, norm=instance_norm, rngs=rngs)
        self.down = nnx.List(
            [
                PaddedConv(width * 2**i, width * 2 ** (i + 1), 4, stride=2, padding=1, norm=instance_norm, rngs=rngs)
                for i in range(downsamplings)
            ]
        )
        self.blocks = nnx.List([ResidualBlock(width * 2**downsamplings, rngs=rngs) for _ in range(blocks)])

    def __call__(self, images: Gray) -> Content:
        """Encode images in [-1, 1]."""
        x = self.stem(images)
        for layer in [*self.down, *self.blocks]:
            x = layer(x)
        return x


class StyleEncoder(nnx.Module):
    """Image to style code: down-samplings without normalisation (which would erase style), global average."""

    def __init__(self, width: int, style: int, *, rngs: nnx.Rngs):
        """Make the encoder; the first two down-samplings double the channels."""
        widths = [width * 2 ** min(level, 2) for level in range(STYLE_DOWNSAMPLINGS + 1)]
        self.stem = PaddedConv(1, width, 7, padding=3, rngs=rngs)
        self.down = nnx.List(
            [PaddedConv(i, o, 4, stride=2, padding=1, rngs=rngs) for i, o in itertools.pairwise(widths)]
        )
        self.head = nnx.Linear(widths[-1], style, kernel_init=KAIMING, rngs=rngs)

    def __call__(self, images: Gray) -> Style:
        """Encode images in [-1, 1]."""
        x = self.stem(images)
        for layer in self.down:
            x = layer(x)
        return self.head(x.mean(axis=(1, 2))).astype(jnp.float32)


class StyleMLP(nnx.Module):
    """Style code to the scales and shifts of the decoder's AdaIN layers."""

    def __init__(self, style: int, width: int, blocks: int, channels: int, *, rngs: nnx.Rngs):
        """Make a 3-layer perceptron for `blocks` adaptive blocks of `channels` channels."""
        widths = [style, width, width, blocks * 4 * channels]
        self.layers = nnx.List(
            [nnx.Linear(i, o, kernel_init=KAIMING, rngs=rngs) for i, o in itertools.pairwise(widths)]
        )
        self.shape = (blocks, 4, channels)

    def __call__(self, style: Style) -> Float[Array, "b blocks 4 c"]:
        """Return scale, shift, scale, shift for each adaptive block."""
        x = style
        for layer in self.layers[:-1]:
            x = jax.nn.relu(layer(x))
        return self.layers[-1](x).reshape(-1, *self.shape)


class Decoder(nnx.Module):
    """Content and style codes to an image: adaptive blocks, then nearest upsampling and 5x5 convolutions."""

    def __init__(self, width: int, upsamplings: int, blocks: int, style: int, mlp: int, *, rngs: nnx.Rngs):
        """Make the decoder of codes with `width * 2**upsamplings` channels."""
        widths = [width * 2**level for level in range(upsamplings, -1, -1)]
        self.mlp = StyleMLP(style, mlp, blocks, widths[0], rngs=rngs)
        self.blocks = nnx.List([AdaptiveResidualBlock(widths[0], rngs=rngs) for _ in range(blocks)])
        self.up = nnx.List(
            [UpsampledConv(i, o, norm=LayerNorm(o, rngs=rngs), rngs=rngs) for i, o in itertools.pairwise(widths)]
        )
        self.head = PaddedConv(width, 1, 7, padding=3, activation=jnp.tanh, rngs=rngs)

    def __call__(self, content: Content, style: Style) -> Gray:
        """Decode to images in [-1, 1]."""
        x = content
        for block, adaptation in zip(self.blocks, jnp.moveaxis(self.mlp(style), 1, 0), strict=True):
            x = block(x, adaptation)
        for layer in self.up:
            x = layer(x)
        return self.head(x).astype(jnp.float32)


class AutoEncoder(nnx.Module):
    """The encoders and the decoder of one domain."""

    def __init__(self, width: int, downsamplings: int, blocks: int, style: int, mlp: int, *, rngs: nnx.Rngs):
        """Make the three networks."""
        self.content = ContentEncoder(width, downsamplings, blocks, rngs=rngs)
        self.style = StyleEncoder(width, style, rngs=rngs)
        self.decode = Decoder(width, downsamplings, blocks, style, mlp, rngs=rngs)


class MUNIT(nnx.Module):
    """Both domains' auto-encoders: G_AB decodes A's content with a style of B, G_BA the other way round."""

    TERMS = ("image", "content", "style", "cycle")

    def __init__(
        self,
        width: int = 32,
        downsamplings: int = 2,
        blocks: int = 2,
        style: int = 8,
        mlp: int = 32,
        *,
        rngs: nnx.Rngs,
    ):
        """Make the translator; `mlp` is the width of the perceptron that reads the style.

        Both domains start from the same weights, so that translation starts from reconstruction. From different
        ones it may settle on negatives of the images, to which the cycle and small patches do not object.
        """
        key = rngs.params()
        self.a = AutoEncoder(width, downsamplings, blocks, style, mlp, rngs=nnx.Rngs(params=key))
        self.b = AutoEncoder(width, downsamplings, blocks, style, mlp, rngs=nnx.Rngs(params=key))
        self.style_size = style

    @staticmethod
    def size_multiple(downsamplings: int = 2, **_) -> int:
        """Return the number by which height and width must be divisible."""
        return 2 ** max(downsamplings, STYLE_DOWNSAMPLINGS)

    def doors_of_b(self) -> tuple[list[PaddedConv], PaddedConv]:
        """Return the layers that images of B enter by, and the one by which they come out, in front of its tanh."""
        return [self.b.content.stem, self.b.style.stem], self.b.decode.head

    def translate(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayB]:
        """Return G_AB(a) and G_BA(b) with styles drawn for them, as the discriminators see them."""
        style_a, style_b = self.target_styles(a, b, key)
        return self.b.decode(self.a.content(a), style_b), self.a.decode(self.b.content(b), style_a)

    def objectives(
        self, a: GrayA, b: GrayB, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], tuple[GrayA, GrayB]]:
        """Return the unweighted translation losses by name and (G_AB(a), G_BA(b)) (MUNIT, section 4).

        `image`: each image is rebuilt from its own codes (equation 2); `content` and `style`: the codes are
        found again in the translated image (equations 3 and 4); `cycle`: an image is rebuilt from its
        translation and its own style (section 5.1, style-augmented cycle consistency).
        """
        content_a, own_style_a = self.a.content(a), self.a.style(a)
        content_b, own_style_b = self.b.content(b), self.b.style(b)
        style_a, style_b = self.target_styles(a, b, key)
        a_to_b = self.b.decode(content_a, style_b)
        b_to_a = self.a.decode(content_b, style_a)
        content_a_found, content_b_found = self.b.content(a_to_b), self.a.content(b_to_a)
        terms = {
            "image": mean_absolute_error(self.a.decode(content_a, own_style_a), a)
            + mean_absolute_error(self.b.decode(content_b, own_style_b), b),
            "content": mean_absolute_error(content_a_found, content_a)
            + mean_absolute_error(content_b_found, content_b),
            "style": mean_absolute_error(self.a.style(b_to_a), style_a)
            + mean_absolute_error(self.b.style(a_to_b), style_b),
            "cycle": mean_absolute_error(self.a.decode(content_a_found, own_style_a), a)
            + mean_absolute_error(self.b.decode(content_b_found, own_style_b), b),
        }
        return terms, (a_to_b, b_to_a)

    def there_and_back(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayA]:
        """Return G_AB(a), in a style of B drawn for it, and G_BA(G_AB(a)), in A's own style (Figure 6a)."""
        _, style_b = self.target_styles(a, b, key)
        a_to_b = self.b.decode(self.a.content(a), style_b)
        return a_to_b, self.a.decode(self.b.content(a_to_b), self.a.style(a))

    def reference(self, a: GrayA, b: GrayB) -> Reference:
        """Return the style code of each image: what translating to a dataset asks to know of it.

        The mean over images, kept as one row, serves `to_a` and `to_b` as well.
        """
        return {"a": self.a.style(a), "b": self.b.style(b)}

    def to_a(self, b: Gray, reference: Reference) -> Gray:
        """Return G_BA(b): the content of `b` in the mean style of A's reference images (Figure 6b)."""
        style = jnp.broadcast_to(reference["a"].mean(axis=0), (b.shape[0], self.style_size))
        return self.a.decode(self.b.content(b), style)

    def to_b(self, a: Gray, reference: Reference) -> Gray:
        """Return G_AB(a): the content of `a` in the mean style of B's reference images."""
        style = jnp.broadcast_to(reference["b"].mean(axis=0), (a.shape[0], self.style_size))
        return self.b.decode(self.a.content(a), style)

    def target_styles(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[StyleB, StyleA]:
        """Draw the styles in which `b` is translated to A and `a` to B from the standard normal prior."""
        key_a, key_b = jax.random.split(key)
        return (
            jax.random.normal(key_a, (len(b), self.style_size)),
            jax.random.normal(key_b, (len(a), self.style_size)),
        )


class DatasetStyleMUNIT(MUNIT):
    """MUNIT with one style a dataset in place of one an image, which the paper names as the next step (section VII).

    In training, images are translated in the mean style of the other dataset's batch, not in one from the prior (with a
    reference both translate in the mean of its styles), and the term `spread` holds the styles of a dataset together.
    """

    TERMS = (*MUNIT.TERMS, "spread")

    def target_styles(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[StyleB, StyleA]:
        """Return the mean style of A for each image of `b`, and that of B for each of `a`, as constants."""
        style_a, style_b = (jax.lax.stop_gradient(side.style(x).mean(axis=0)) for side, x in ((self.a, a), (self.b, b)))
        return jnp.tile(style_a, (len(b), 1)), jnp.tile(style_b, (len(a), 1))

    def objectives(
        self, a: GrayA, b: GrayB, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], tuple[GrayA, GrayB]]:
        """Return MUNIT's losses and `spread`, the mean distance of style codes from their dataset's mean."""
        terms, translated = super().objectives(a, b, key)
        styles = self.a.style(a), self.b.style(b)
        spread = sum(mean_absolute_error(style, style.mean(axis=0, keepdims=True)) for style in styles)
        return {**terms, "spread": spread}, translated
