"""Whether the target's images are negatives of the source's, told without labels.

Radiographs are stored with bones bright or dark. Adversarial training hardly ever turns one into the other: between an
image and its negative lies a uniform grey. So a translation between datasets of opposite polarity starts there.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Array, Bool, UInt8

from cxr_jax import devices, evaluation
from cxr_jax.errors import UserError
from cxr_jax.files import read_json, write_json
from cxr_jax.plans import Experiment
from cxr_jax.plausibility import Shape

FILE = "polarity.json"
SHARE = 0.25  # of the images at least, in whose negatives M_A must find the organ,
FEWEST = 3  # and of so many,
RATIO = 2  # and more than so many times as often as in the images themselves

Images = UInt8[np.ndarray, "n h w 1"]
Segment = Callable[[UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]


def opposed(folder: Path, segment: Segment, name: str, images: Images, shape: Shape) -> bool:
    """Tell whether M_A finds the organ in negatives of a target's images rather than in the images.

    `name` is the target's, `shape` that of the source's masks. It is told once, and kept in `polarity.json` there.
    """
    path = folder / FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, _told(segment, name, images, shape))
    devices.wait_for_all("polarity")
    return read_json(path)["opposed"]


def _told(segment: Segment, name: str, images: Images, shape: Shape) -> dict[str, int | bool]:
    found, negatives = (
        int(shape.plausible(np.asarray(evaluation.in_batches(segment, shown))).sum())
        for shown in (images, 255 - images)
    )
    verdict = negatives >= max(FEWEST, SHARE * len(images)) and negatives > RATIO * found
    if verdict:
        logging.warning(
            "%s: M_A finds the organ in %d of %d images and in %d of their negatives, from which translation starts",
            *(name, found, len(images), negatives),
        )
    return {"opposed": verdict, "images": len(images), "found_in_images": found, "found_in_negatives": negatives}


class PolarityError(UserError):
    """Datasets of opposite polarity, and a method that cannot do with that; the message says what can."""


def turned(translator: nnx.GraphDef, parameters: dict, experiment: Experiment) -> dict:
    """Return a translator's parameters such that it does with negatives of B's images what it did with the images.

    Raises `PolarityError` for one that cannot, which says what to change in the `experiment`.
    """
    module = nnx.merge(translator, jax.tree.map(lambda leaf: leaf, parameters))
    doors = module.doors_of_b()
    if doors is None:
        raise PolarityError(
            f"M_A finds the organ in negatives of {experiment.target}'s images, and {experiment.translator['name']} "
            f"keeps an image's polarity: take --config.translator.name=munit, or {_remedy(experiment)}"
        )
    entrances, exit_ = doors
    for parameter in (*(layer.conv.kernel for layer in entrances), exit_.conv.kernel, exit_.conv.bias):
        parameter[...] = -parameter[...]
    return nnx.to_pure_dict(nnx.state(module))


def require_alike(folder: Path, segment: Segment, images: Images, shape: Shape, experiment: Experiment) -> None:
    """Raise `PolarityError` where M_A, which is to teach itself by its masks of these images, finds none in them."""
    if opposed(folder, segment, experiment.target, images, shape):
        raise PolarityError(
            f"M_A finds the organ in negatives of {experiment.target}'s images, and cannot teach itself by its masks "
            f"of the images: take --config.method=transfer, or {_remedy(experiment)}"
        )


def _remedy(experiment: Experiment) -> str:
    if experiment.source == experiment.target:
        return "invert the files of one of the two folders, with another --workdir"
    shown = tuple(sorted({*experiment.negated} ^ {experiment.target}))
    return (
        f'have images inverted as they are loaded, by --config.negated="{shown}", with another --workdir; where bones '
        "are dark then, add --config.augmentation.effusion=0.0"
    )
