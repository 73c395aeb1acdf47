"""What the method asks of a translator: both directions between A and B in one module.

`cxr_jax.steps` trains what follows this protocol, whatever it is made of. Images are in [-1, 1]; a is a batch of A, b
one of B, and their sizes may differ. Figures are those of Oliveira & dos Santos 2018.
"""

from typing import ClassVar, Protocol

from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.models.layers import PaddedConv

Gray = Float[Array, "b h w 1"]
GrayA = Float[Array, "n h w 1"]
GrayB = Float[Array, "m h w 1"]
Reference = dict[str, Float[Array, "_ s"]]  # by domain, what translating to it asks to know; may be empty


class Translator(Protocol):
    """A module with both directions, G_AB and G_BA, and the losses that hold them together."""

    TERMS: ClassVar[tuple[str, ...]]  # the names of those losses, each of which has its weight in a config

    def __init__(self, *, rngs: nnx.Rngs, **sizes: int):
        """Make both directions; `sizes` are the fields of its section of a config, beside weights and image pool."""

    @staticmethod
    def size_multiple(**sizes: int) -> int:
        """Return the number by which height and width of images must be divisible, at those sizes."""

    def translate(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayB]:
        """Return G_AB(a) and G_BA(b) as the discriminators see them in the discriminative step."""

    def objectives(
        self, a: GrayA, b: GrayB, key: PRNGKeyArray
    ) -> tuple[dict[str, Float[Array, ""]], tuple[GrayA, GrayB]]:
        """Return the unweighted losses of the generative step, by the names in `TERMS`, and (G_AB(a), G_BA(b))."""

    def there_and_back(self, a: GrayA, b: GrayB, key: PRNGKeyArray) -> tuple[GrayA, GrayA]:
        """Return G_AB(a) and G_BA(G_AB(a)), the recovered sample of the supervised step (Figure 6a)."""

    def reference(self, a: GrayA, b: GrayB) -> Reference:
        """Return, of each image, what translating to its dataset asks to know of it.

        The mean over a dataset's images, kept as one row, is part of the trained model.
        """

    def to_a(self, b: Gray, reference: Reference) -> Gray:
        """Return G_BA(b) for inference (Figure 6b): the same at each call."""

    def to_b(self, a: Gray, reference: Reference) -> Gray:
        """Return G_AB(a) for inference: the same at each call."""

    def doors_of_b(self) -> tuple[list[PaddedConv], PaddedConv] | None:
        """Return the layers that images of B enter by, and the one by which they come out, in front of its tanh.

        With these negated, translation starts from negatives (`cxr_jax.polarity`). None where it cannot, since a loss
        holds an image to its polarity, or both domains do not start alike.
        """
