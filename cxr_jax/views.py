"""What a transferred model makes of images: translations, masks, and a picture of both."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import pictures, steps
from cxr_jax.data import sampling
from cxr_jax.data.radiographs import Radiographs

Images = UInt8[Array, "n h w 1"]
SHOWN = 6  # images in a picture


class Views:
    """What a transferred model `{"segmenter", "translator", "reference"}` makes of images in [0, 255]."""

    def __init__(self, graphs: steps.Graphs, look: str):
        """Compile nothing yet; every view is jitted on first use.

        `look` is "a", where M_A segments a target image translated to A as in the paper, or "b", where it
        segments the image as it is.
        """
        self._graphs = graphs
        self._look = look
        self.segment_source = jax.jit(lambda model, a: self._segment(model, dict.fromkeys("ab", _read(a))))
        self.segment_target = jax.jit(self._segment_target)
        self.target_probability = jax.jit(lambda model, b: jax.nn.sigmoid(self._target_logits(model, b)))
        self.segment_cycle = jax.jit(self._segment_cycle)
        self.translate = jax.jit(self._translate)
        self.there_and_back = jax.jit(self._there_and_back, static_argnums=1)
        self.reference = jax.jit(lambda parameters, a, b: self._translator(parameters).reference(_read(a), _read(b)))

    def _translator(self, parameters: Any) -> nnx.Module:
        return nnx.merge(self._graphs.translator, parameters)

    def _segment(self, model: Any, looks: Mapping[str, Array]) -> Bool[Array, "b h w 1"]:
        return self._logits(model, looks) > 0

    def _logits(self, model: Any, looks: Mapping[str, Array]) -> Float[Array, "b h w 1"]:
        return nnx.merge(self._graphs.segmenter, model["segmenter"])(looks[self._look])

    def _segment_target(self, model: Any, b: Images) -> Bool[Array, "b h w 1"]:
        return self._target_logits(model, b) > 0

    def _target_logits(self, model: Any, b: Images) -> Float[Array, "b h w 1"]:
        """M_A(G_BA(b)), the inference of section IV-C; in the look of B, M_A(b)."""
        b_to_a = self._translator(model["translator"]).to_a(_read(b), model["reference"])
        return self._logits(model, {"a": b_to_a, "b": _read(b)})

    def _segment_cycle(self, model: Any, a: Images) -> Bool[Array, "b h w 1"]:
        """M_A(G_BA(G_AB(a))), which A's labels can judge; in the look of B, M_A(G_AB(a))."""
        images = self._translate(model, a, a)
        return self._segment(model, {"a": images["a_to_b_to_a"], "b": images["a_to_b"]})

    def _translate(self, model: Any, a: Images, b: Images) -> dict[str, Array]:
        """Images in [-1, 1] of both directions and of A's way there and back."""
        translator, reference = self._translator(model["translator"]), model["reference"]
        a_to_b = translator.to_b(_read(a), reference)
        return {
            "a_to_b": a_to_b,
            "a_to_b_to_a": translator.to_a(a_to_b, reference),
            "b_to_a": translator.to_a(_read(b), reference),
        }

    def _there_and_back(self, model: Any, domain: str, images: Images) -> Float[Array, "n h w 1"]:
        """G_BA(G_AB(a)) of images of domain "a", G_AB(G_BA(b)) of images of "b", in [0, 1]."""
        translator, reference = self._translator(model["translator"]), model["reference"]
        away, back = (translator.to_b, translator.to_a) if domain == "a" else (translator.to_a, translator.to_b)
        return sampling.from_network(back(away(_read(images), reference), reference))

    def picture(self, model: Any, source: Radiographs, target: Radiographs) -> Callable[[], UInt8[np.ndarray, "h w 3"]]:
        """Send off what a grid shows: rows of a, a to b, a to b to a, b and b to a, the predicted masks outlined."""
        rows = np.arange(min(SHOWN, len(source), len(target)))
        few_a, few_b = source[rows], target[rows]
        images = self.translate(model, few_a.images, few_b.images)
        masks_a, masks_b = self.segment_cycle(model, few_a.images), self.segment_target(model, few_b.images)
        return lambda: pictures.grid(
            [
                pictures.outlined(few_a.images, masks_a, few_a.masks),
                pictures.grey(images["a_to_b"]),
                pictures.outlined(images["a_to_b_to_a"], masks_a),
                pictures.outlined(few_b.images, masks_b),
                pictures.outlined(images["b_to_a"], masks_b),
            ]
        )


def _read(images: Images) -> Float[Array, "b h w 1"]:
    return sampling.to_network(sampling.to_unit(images))
