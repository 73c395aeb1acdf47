"""Masks that teach M_A the target's own images: those that the transfer drew, where they can be the organ.

The paper has no such stage. It needs no label either: what the transfer does well in most images teaches the rest.
"""

from dataclasses import replace

import numpy as np
from absl import logging
from jaxtyping import Bool, Int

from cxr_jax import evaluation
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.data.splits import Split
from cxr_jax.plausibility import Shape


def taught(
    draw: evaluation.Predict, target: Radiographs, split: Split, labelled: Bool[np.ndarray, " n"], shape: Shape
) -> tuple[Radiographs, Split]:
    """Return the target with masks to learn from, and those rows of the split that have one; no test image has.

    Where `labelled`, an image keeps its label. Any other gets the mask that `draw` makes of it, if that has the
    `shape` of the source's masks; where none in a part of the split has, they are all taken, and the log says so.
    """
    masks = np.zeros_like(target.images)
    if labelled.any():
        masks[labelled] = target.masks[labelled]
    kept = {}
    for part in ("train", "validation"):
        rows = getattr(split, part)
        drawn = np.asarray(evaluation.in_batches(draw, target.images[rows]))
        masks[rows] = np.where(labelled[rows, None, None, None], masks[rows], drawn)
        kept[part] = rows[_usable(drawn, labelled[rows], shape, f"{target.name}, {part}")]
    return replace(target, masks=masks), Split(**kept, test=split.test[:0])


def _usable(
    drawn: Bool[np.ndarray, "n h w 1"], labelled: Bool[np.ndarray, " n"], shape: Shape, name: str
) -> Int[np.ndarray, " k"]:
    usable = labelled | shape.plausible(drawn)
    logging.info("%s: M_A learns from its masks of %d images, of %d", name, (usable & ~labelled).sum(), len(usable))
    if not usable.any():
        logging.warning("%s: no mask can be the organ; M_A learns from all of them", name)
        usable[:] = True
    return np.flatnonzero(usable)
