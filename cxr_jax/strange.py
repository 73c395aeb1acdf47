"""Source images made strange, to choose by where the target has no labels.

`python -m cxr_jax.strange --model NAME=WORKDIR` tests what a run trained on its source's validation images: as they
are, with disease that the source does not show, in another frame. The rows go to `docs/results/strange.json`.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.special import expit

from cxr_jax import datasets, evaluation, inference, model_rows, results
from cxr_jax.data import prepared
from cxr_jax.data.augmentation import resample
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.report.strange import FILE, setting

Image = Float[np.ndarray, "s s"]  # in [0, 1], bones bright
Mask = Bool[np.ndarray, "s s"]
EDGE = 1 / 64  # how far the edge of a whitening reaches, as share of the side


def effusion(rng: np.random.Generator, lung: Mask) -> Image:
    """Return where a lung is white from its base up to between a fifth and half of its height."""
    rows = np.flatnonzero(lung.any(axis=1))
    level = rows[-1] - rng.uniform(0.2, 0.5) * np.ptp(rows)
    below = expit((np.arange(len(lung)) - level) / (EDGE * len(lung)))
    return np.broadcast_to(below[:, None], lung.shape)


def consolidation(rng: np.random.Generator, lung: Mask) -> Image:
    """Return where a lung has a round patch, of a diameter between an eighth and a quarter of the image's side."""
    row, column = rng.choice(np.argwhere(lung))
    rows, columns = np.ogrid[: len(lung), : len(lung)]
    inside = rng.uniform(1 / 16, 1 / 8) * len(lung) - np.hypot(rows - row, columns - column)
    return expit(inside / (EDGE * len(lung)))


def _diseased(disease: Callable[..., Image], rng: np.random.Generator, image: Image, lungs: Mask) -> Image:
    """Whiten a part of one lung, nearly as much as the tissue around the lungs is white."""
    parts, count = ndimage.label(lungs)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    lung = parts == 1 + rng.choice(np.argsort(areas)[-2:])
    share = rng.uniform(0.7, 0.95) * disease(rng, lung) * ndimage.gaussian_filter(lung.astype(float), EDGE * len(lung))
    tissue = np.quantile(image[~lungs], rng.uniform(0.5, 0.9))
    return image + share * np.maximum(tissue - image, 0.0)


DISEASES = {"effusion": effusion, "consolidation": consolidation}
FRAMES = {  # how much more than an image's height and width is shown
    "narrow": (1.0, 1.22),
    "flat": (1.22, 1.0),
    "small": (1.4, 1.4),
}
KINDS = ("as they are", *DISEASES, *FRAMES)


def made_strange(kind: str, images: Radiographs, lungs: Radiographs) -> Radiographs:
    """Return the images made strange in one of `KINDS`, the same ones each time; `lungs` has the lungs' masks of them.

    Masks are what they were under disease, and move with the image in another frame.
    """
    if kind in DISEASES:
        rng = np.random.default_rng(0)
        pairs = zip(images.images[..., 0] / 255.0, lungs.masks[..., 0] > 0, strict=True)
        sick = np.stack([_diseased(DISEASES[kind], rng, *pair) for pair in pairs])[..., None]
        return replace(images, images=np.rint(255.0 * sick).astype(np.uint8))
    if kind in FRAMES:
        matrix = jnp.diag(jnp.array(FRAMES[kind]))
        moved, masks = (
            np.stack([np.asarray(resample(jnp.asarray(one, jnp.float32), matrix, jnp.zeros(2))) for one in part])
            for part in (images.images, images.masks)
        )
        return replace(images, images=np.rint(moved).astype(np.uint8), masks=(masks >= 0.5).astype(np.uint8))
    return images


def measure(name: str, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Return a row for each kind: what the masks of a run's model are worth on the source's validation images.

    Disease is drawn in images as the model sees them, behind their tones. Raises `ValueError` for a model that
    translates first, as it does for the target alone, for a source that is shown as negatives, in which disease would
    be dark, and for one whose images have no masks of lungs, in which disease is drawn.
    """
    model = inference.restore(workdir)
    if model.translates:
        raise ValueError(f"{workdir} segments translated images: expected a model that reads images as they are")
    plan = replace(model.experiment, target=None)
    if plan.source in plan.negated:
        raise ValueError(f"{workdir} has learned from negatives of {plan.source}: expected images with bright bones")
    data = datasets.load(plan, data_dir, manual_dir)
    look = plan.look(plan.source)
    whole = prepared.load(plan.source, "lungs", look, data_dir, manual_dir, folder=plan.source_dir)
    if whole.with_masks().ids != data.source.ids:
        raise ValueError(f"expected masks of lungs for the images of {plan.source}; they are missing for some")
    rows = data.source_split.validation
    images, lungs = data.source[rows], whole.with_masks()[rows]
    about = results.describe(plan) | {"model": name, "data": {images.name: images.fingerprint()}}
    scores = {kind: evaluation.overlap(model.predict, made_strange(kind, images, lungs)) for kind in KINDS}
    return [{**about, "kind": kind, **evaluation.summary(found, images.ids)} for kind, found in scores.items()]


def _key(row: dict[str, Any]) -> tuple[Hashable, ...]:
    return *setting(row).values(), row["seed"], row["kind"]


def _told(row: dict[str, Any]) -> str:
    return f"{row['kind']}, {row['jaccard']['mean']:.2f}"


def main() -> None:
    """Measure the models that are named, and keep their rows."""
    model_rows.keep(__doc__, FILE, measure, _key, _told)


if __name__ == "__main__":
    main()
