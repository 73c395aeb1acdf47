"""Whether the target's images are negatives of the source's, told without labels.

Radiographs are stored with bones bright or dark. Adversarial training hardly ever turns one into the other: between an
image and its negative lies a uniform grey. So a translation between datasets of opposite polarity starts there.
"""

from collections.abc import Callable

import jax
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Array, Bool, UInt8

from cxr_jax import evaluation
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.plausibility import Shape
from cxr_jax.postprocessing import tidied

Segment = Callable[[UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]


def opposed(segment: Segment, target: Radiographs, shape: Shape) -> bool:
    """Tell whether M_A finds the organ in more negatives of the target's images than in the images themselves.

    `shape` is what the organ looks like in the source's masks.
    """
    as_they_are, negatives = (
        int(shape.plausible(tidied(np.asarray(evaluation.in_batches(segment, images)), shape.parts)).sum())
        for images in (target.images, 255 - target.images)
    )
    if negatives > as_they_are:
        logging.warning(
            "%s: M_A finds the organ in %d of %d images and in %d of their negatives, from which translation starts",
            *(target.name, as_they_are, len(target), negatives),
        )
    return negatives > as_they_are


def turned(translator: nnx.GraphDef, parameters: dict) -> dict:
    """Return a translator's parameters such that it does with negatives of B's images what it did with the images."""
    module = nnx.merge(translator, jax.tree.map(lambda leaf: leaf, parameters))
    entrances, exit_ = module.doors_of_b()
    for parameter in (*(layer.conv.kernel for layer in entrances), exit_.conv.kernel, exit_.conv.bias):
        parameter[...] = -parameter[...]
    return nnx.to_pure_dict(nnx.state(module))
