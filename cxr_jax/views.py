"""What a transferred model makes of images: translations, masks, and a picture of both."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import evaluation, pictures, steps
from cxr_jax.data import sampling
from cxr_jax.data.radiographs import Radiographs

Images = UInt8[Array, "n h w 1"]
Values = Float[Array, "n h w 1"]
Masks = Bool[Array, "n h w 1"]
SHOWN = 6  # images in a picture


class OfSource(NamedTuple):
    """What a model makes of source images: translations, in [-1, 1], and M_A's masks.

    `cycle_masks` are of the translation that it is shown: of `a_to_b_to_a`, or, in the look of B, of `a_to_b`.
    """

    a_to_b: Values
    a_to_b_to_a: Values
    masks: Masks
    cycle_masks: Masks


class OfTarget(NamedTuple):
    """What a model makes of target images: translations, in [-1, 1], and M_A's masks.

    These are of `b_to_a`, or, in the look of B, of the images as they are.
    """

    b_to_a: Values
    b_to_a_to_b: Values
    masks: Masks


class Views:
    """What a transferred model `{"segmenter", "translator", "reference"}` makes of images in [0, 255]."""

    def __init__(self, graphs: steps.Graphs, look: str):
        """Compile nothing yet; every view is jitted on first use.

        `look` is "a", where M_A segments a target image translated to A as in the paper, or "b", where it
        segments the image as it is.
        """
        self._graphs = graphs
        self._look = look
        self.of_source = jax.jit(self._of_source)
        self.of_target = jax.jit(self._of_target)
        self.target_probability = jax.jit(self._target_probability)
        self.reference = jax.jit(lambda parameters, a, b: self._translator(parameters).reference(_read(a), _read(b)))

    def _translator(self, parameters: Any) -> nnx.Module:
        return nnx.merge(self._graphs.translator, parameters)

    def _soften(self, model: Any, images: Values) -> Values:
        return jax.nn.sigmoid(nnx.merge(self._graphs.segmenter, model["segmenter"])(images))

    def _of_source(self, model: Any, a: Images) -> OfSource:
        """M_A(a), and M_A(G_BA(G_AB(a))), which A's labels can judge too; in the look of B, M_A(G_AB(a))."""
        translator, reference = self._translator(model["translator"]), model["reference"]
        a_to_b = translator.to_b(_read(a), reference)
        back = translator.to_a(a_to_b, reference)
        soft = [self._soften(model, images) for images in (_read(a), back if self._look == "a" else a_to_b)]
        return OfSource(a_to_b, back, *(values > 0.5 for values in soft))

    def _of_target(self, model: Any, b: Images) -> OfTarget:
        translator, reference = self._translator(model["translator"]), model["reference"]
        b_to_a = translator.to_a(_read(b), reference)
        soft = self._soften(model, b_to_a if self._look == "a" else _read(b))
        return OfTarget(b_to_a, translator.to_b(b_to_a, reference), soft > 0.5)

    def _target_probability(self, model: Any, b: Images) -> Values:
        """M_A(G_BA(b)), the inference of section IV-C; in the look of B, M_A(b)."""
        if self._look == "b":
            return self._soften(model, _read(b))
        return self._soften(model, self._translator(model["translator"]).to_a(_read(b), model["reference"]))

    def picture(self, model: Any, source: Radiographs, target: Radiographs) -> Callable[[], UInt8[np.ndarray, "h w 3"]]:
        """Send off what a grid shows: rows of a, a to b, a to b to a, b and b to a, the predicted masks outlined."""
        rows = np.arange(min(SHOWN, len(source), len(target)))
        few_a, few_b = source[rows], target[rows]
        # batches as large as in validation, so that nothing is compiled for this
        of_a, of_b = (
            jax.tree.map(
                lambda values: values[: len(rows)],
                evaluation.in_batches(partial(view, model), images.images[: evaluation.BATCH_SIZE]),
            )
            for view, images in ((self.of_source, source), (self.of_target, target))
        )
        return lambda: pictures.grid(
            [
                pictures.outlined(few_a.images, of_a.cycle_masks, few_a.masks),
                pictures.grey(of_a.a_to_b),
                pictures.outlined(of_a.a_to_b_to_a, of_a.cycle_masks),
                pictures.outlined(few_b.images, of_b.masks),
                pictures.outlined(of_b.b_to_a, of_b.masks),
            ]
        )


def _read(images: Images) -> Float[Array, "b h w 1"]:
    return sampling.to_network(sampling.to_unit(images))
