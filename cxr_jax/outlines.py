"""Where the outlines that a model draws of lungs lie beside the truth's, on each side of a lung.

`python -m cxr_jax.outlines --model NAME=WORKDIR` measures what a run trained on the test images of its target (of its
source, where it has none), after all training and choosing: it reads masks that a run without labels must not see,
those of validation images too. The rows go to `docs/results/outlines.json`.
"""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from cxr_jax import datasets, evaluation, inference, metrics, model_rows, results, surface
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.report.outlines import FILE, setting

Mask = Bool[np.ndarray, "s s"]
Soft = Float[np.ndarray, "n s s 1"]
SMOOTH = 1 / 64  # how far, as share of the side, the direction of an outline is looked at
THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))


def sides(lungs: Mask) -> dict[str, Mask]:
    """Return the surface pixels of a mask of lungs by the side that they look to.

    The direction is that in which the smoothed mask falls. What looks more up or down than sideways is of the apex or
    of the diaphragm, the rest of the mediastinum or of the chest wall: that towards the middle between both lungs (of
    the image, where there is one part), or away from it. Raises `ValueError` for an empty mask.
    """
    if not lungs.any():
        raise ValueError("expected a mask of lungs, found an empty one")
    smooth = ndimage.gaussian_filter(lungs.astype(float), SMOOTH * len(lungs), mode="constant")
    down, right = (-slope for slope in np.gradient(smooth))
    outline = surface.pixels(lungs)
    upright = np.abs(down) > np.abs(right)
    inwards = right * (_middle(lungs) - np.arange(lungs.shape[1])) > 0
    return {
        "apex": outline & upright & (down < 0),
        "mediastinum": outline & ~upright & inwards,
        "chest wall": outline & ~upright & ~inwards,
        "diaphragm": outline & upright & (down >= 0),
    }


def _middle(lungs: Mask) -> float:
    """Return the column halfway between the centres of the two largest parts."""
    parts, count = ndimage.label(lungs)
    if count < 2:
        return (lungs.shape[1] - 1) / 2
    largest = 1 + np.argsort(np.bincount(parts[lungs])[1:])[-2:]
    return float(np.mean([column for _, column in ndimage.center_of_mass(lungs, parts, largest)]))


def offsets(predicted: Mask, lungs: Mask) -> dict[str, float]:
    """Return how far a predicted mask reaches beyond the truth on each side, in the mean over the side's pixels.

    It is in percent of the image's side, as the size of Montgomery's pixels is unknown, and negative where the mask
    falls short. Distances are those of the truth's outline to the nearest of the mask's, so that what the mask has far
    from all lungs does not count. Raises `ValueError` for a truth that does not look to all sides.
    """
    found = sides(lungs)
    missing = [side for side, outline in found.items() if not outline.any()]
    if missing:
        raise ValueError(f"expected masks of lungs, found one whose outline has no {' and no '.join(missing)}")
    beyond = surface.signed_distances(predicted, lungs, 2 * [100 / len(lungs)])
    return {side: float(beyond[outline].mean()) for side, outline in found.items()}


def best_threshold(soft: Soft, images: Radiographs) -> float:
    """Return that of `THRESHOLDS` with the highest mean Jaccard on these images; of equals the nearest to 0.5."""
    score = {threshold: _jaccard(soft > threshold, images).mean() for threshold in THRESHOLDS}
    return max(score, key=lambda threshold: (score[threshold], -abs(threshold - 0.5)))


def measure(name: str, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Return the row of a run's model.

    It holds the offsets of the masks of test images, their area in percent of the truth's, their Jaccard, and what that
    is with the threshold that is best on validation images. Raises `ValueError` where the organ is another, or images
    have no masks.
    """
    model = inference.restore(workdir)
    plan = model.experiment
    if plan.task != "lungs":
        raise ValueError(f"{workdir} draws {plan.task}: expected a model of lungs, whose sides are told apart here")
    data = datasets.load(plan, data_dir, manual_dir)
    whole, split = (data.source, data.source_split) if plan.target is None else (data.target, data.target_split)
    if not whole.has_mask.any():
        raise ValueError(f"expected masks of {whole.name}'s images, found none: outlines are compared with them")
    test, validation = (whole[rows].with_masks() for rows in (split.test, split.validation))
    soft = _soften(model, test)
    threshold = best_threshold(_soften(model, validation), validation)
    masks, truth = soft[..., 0] > 0.5, test.masks[..., 0] > 0
    found = [_offsets_of(*case) for case in zip(test.ids, masks, truth, strict=True)]
    scores = {
        **{side: np.array([one[side] for one in found]) for side in found[0]},
        "area": 100.0 * masks.sum((1, 2)) / truth.sum((1, 2)),
        "jaccard": _jaccard(soft > 0.5, test),
        "jaccard_at_threshold": _jaccard(soft > threshold, test),
    }
    about = results.describe(plan) | {"model": name, "trained": model.made, "tested_on": test.name}
    data_of = {"data": {test.name: whole.fingerprint()}, "threshold": threshold}
    return [{**about, **data_of, **evaluation.summary(scores, test.ids)}]


def _offsets_of(name: str, predicted: Mask, lungs: Mask) -> dict[str, float]:
    try:
        return offsets(predicted, lungs)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _soften(model: Any, images: Radiographs) -> Soft:
    return np.asarray(evaluation.in_batches(model.soften, images.images))


def _jaccard(masks: Bool[np.ndarray, "n s s 1"], images: Radiographs) -> Float[np.ndarray, " n"]:
    return np.asarray(metrics.jaccard(masks, images.masks > 0))


def _key(row: Mapping[str, Any]) -> tuple[Hashable, ...]:
    return *setting(row).values(), row["seed"]


def _told(row: Mapping[str, Any]) -> str:
    plain, best = (f"{row[name]['mean']:.2f}" for name in ("jaccard", "jaccard_at_threshold"))
    return f"{plain}, with a threshold of {row['threshold']} {best}"


def main() -> None:
    """Measure the models that are named, and keep their rows."""
    model_rows.keep(__doc__, FILE, measure, _key, _told)


if __name__ == "__main__":
    main()
