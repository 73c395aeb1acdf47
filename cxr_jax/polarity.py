"""Whether the target's images are negatives of the source's, told without labels.

Radiographs are stored with bones bright or dark. Adversarial training hardly ever turns one into the other: between an
image and its negative lies a uniform grey. So a translation between datasets of opposite polarity starts there.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Array, Bool, UInt8

from cxr_jax import devices, evaluation
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.errors import UserError
from cxr_jax.files import write
from cxr_jax.plans import Experiment
from cxr_jax.plausibility import Shape

FILE = "polarity.json"
SHARE = 0.25  # of the images at least, in whose negatives M_A must find the organ,
RATIO = 2  # and more than so many times as often as in the images themselves

Segment = Callable[[UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]


def opposed(folder: Path, segment: Segment, target: Radiographs, shape: Shape) -> bool:
    """Tell whether M_A finds the organ in negatives of the target's images rather than in the images.

    `shape` is that of the source's masks. It is told once, and kept in `folder` as `polarity.json`.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write(path, json.dumps(_told(segment, target, shape), indent=1) + "\n")
    devices.wait_for_all("polarity")
    return json.loads(path.read_text())["opposed"]


def _told(segment: Segment, target: Radiographs, shape: Shape) -> dict[str, int | bool]:
    found, negatives = (
        int(shape.plausible(np.asarray(evaluation.in_batches(segment, images))).sum())
        for images in (target.images, 255 - target.images)
    )
    verdict = negatives >= SHARE * len(target) and negatives > RATIO * found
    if verdict:
        logging.warning(
            "%s: M_A finds the organ in %d of %d images and in %d of their negatives, from which translation starts",
            *(target.name, found, len(target), negatives),
        )
    return {"opposed": verdict, "images": len(target), "found_in_images": found, "found_in_negatives": negatives}


class PolarityError(UserError):
    """Datasets of opposite polarity, and a translator that cannot start from negatives; the message says what can."""


def turned(translator: nnx.GraphDef, parameters: dict, experiment: Experiment) -> dict:
    """Return a translator's parameters such that it does with negatives of B's images what it did with the images.

    Raises `PolarityError` for one that cannot, which says what to change in the `experiment`.
    """
    module = nnx.merge(translator, jax.tree.map(lambda leaf: leaf, parameters))
    doors = module.doors_of_b()
    if doors is None:
        target, name = experiment.target, experiment.translator["name"]
        shown = tuple(sorted({*experiment.negated} ^ {target}))
        raise PolarityError(
            f"M_A finds the organ in negatives of {target}'s images, and {name} keeps an image's polarity: take "
            f'--config.translator.name=munit, or show the images as M_A finds it, by --config.negated="{shown}" (and '
            "--config.augmentation.effusion=0.0, if bones are dark then), with another --workdir"
        )
    entrances, exit_ = doors
    for parameter in (*(layer.conv.kernel for layer in entrances), exit_.conv.kernel, exit_.conv.bias):
        parameter[...] = -parameter[...]
    return nnx.to_pure_dict(nnx.state(module))
