"""Which of the target's images M_A may teach itself: those whose masks, as it drew them before, can be the organ.

The paper has no such stage. It needs no label either: what M_A does well in most images teaches the rest.
While M_A learns, its averaged weights draw these masks anew (`cxr_jax.segmentation`).
"""

from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Bool

from cxr_jax import evaluation
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.data.splits import Split
from cxr_jax.files import write_json
from cxr_jax.plausibility import Shape

FILE = "masks.json"
SHARE = 0.25  # of the unlabelled images whose masks must be plausible for the others to be left out


def taught(
    draw: evaluation.Predict, target: Radiographs, split: Split, labelled: Bool[np.ndarray, " n"], shape: Shape
) -> tuple[Radiographs, Split]:
    """Return the target with masks to learn from, and those rows of the split that have one; no test image has.

    Where `labelled`, an image keeps its label. Any other gets the mask that `draw` makes of it, if that has the
    `shape` of the source's masks. Where hardly any has, all are taken, and the log says so: the few would draw M_A to
    themselves. The masks drawn here choose the images and judge the epochs; while M_A
    learns, others take their place.
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
    return target.with_other_masks(masks), Split(**kept, test=split.test[:0])


def record(folder: Path, split: Split, labelled: Bool[np.ndarray, " n"]) -> None:
    """Write down, in the stage's folder, how many images M_A learns from: with their labels, and with its own masks."""
    labels = int(labelled[split.train].sum())
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, {"labels": labels, "own": len(split.train) - labels})


def _usable(
    drawn: Bool[np.ndarray, "n h w 1"], labelled: Bool[np.ndarray, " n"], shape: Shape, name: str
) -> Bool[np.ndarray, " n"]:
    plausible = shape.plausible(drawn) & ~labelled
    if plausible.sum() < SHARE * (~labelled).sum():
        logging.warning("%s: %d of %d masks can be the organ; all are taken", name, plausible.sum(), (~labelled).sum())
        return np.ones_like(labelled)
    return labelled | plausible
