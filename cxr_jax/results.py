"""What a finished run leaves: the scores of its test images, overlays, `results.json`, a summary."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from cxr_jax import config, evaluation, inference, metrics, pictures, plans, provenance, run_report
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.files import read_json, write_json
from cxr_jax.plausibility import Shape
from cxr_jax.predictor import Predictor

FILE = "results.json"
COLUMNS = 7  # of a picture of all test images
SHOWN = ("jaccard", "dice", "jaccard_tidied")  # of the metrics, in the summary
TITLES = {
    "source": "M_A on the source",
    "source_only": "M_A on the target",
    "before_self_training": "before self-training",
    "transfer": "transfer",
    "self_training": "self-training alone",
    "fine_tuning": "fine-tuning",
    "from_scratch": "from scratch",
}


def write(
    experiment: plans.Experiment,
    tests: Mapping[str, tuple[Path, Radiographs]],
    shape: Shape,
    about: Mapping[str, Any],
    stages: Mapping[str, Path],
    workdir: Path,
) -> dict[str, Any]:
    """Test models on images, write `results.json`, overlays and the run's report; return the results.

    `tests` says by name where a model's checkpoint is and what it is tested on, the outcome's last; masks are plausible
    where they have the `shape` of the source's. `about` is added to the results, and the report shows the folders of
    `stages`. Command, commit, device and versions are those by which the outcome was trained, whatever tests it again.
    """
    predictors = {folder: inference.restore(folder) for folder in dict.fromkeys(folder for folder, _ in tests.values())}
    outcomes = {name: tested(predictors[folder], images, shape) for name, (folder, images) in tests.items()}
    trained = {name: predictors[folder].made for name, (folder, _) in tests.items()}
    results = {
        **describe(experiment),
        **(list(trained.values())[-1] or _told_before(workdir)),
        **about,
        "trained": trained,
        "tested": provenance.here(),
        "epochs": {name: predictors[folder].epoch for name, (folder, _) in tests.items()},
        "test": {name: test.scores for name, test in outcomes.items() if test.scores is not None},
        "plausible": {name: test.plausible for name, test in outcomes.items()},
        "expected_jaccard": {name: test.expected for name, test in outcomes.items()},
    }
    workdir.mkdir(parents=True, exist_ok=True)
    summary, cases = screen(results), {}
    for name, test in outcomes.items():
        drawn = pictures.outlined(test.images.images, test.masks, test.images.masks)
        _overlays(test, drawn, workdir / "overlays" / f"{name}.png")
        cases[TITLES[name]] = _cases(test, drawn)
    run_report.write(workdir / run_report.FILE, summary.splitlines()[0], summary, results, stages, cases)
    write_json(workdir / FILE, results)  # last: it says that all is there
    return results


def _told_before(workdir: Path) -> dict[str, Any]:
    """Return what earlier results say that trained a model, which older checkpoints do not say themselves."""
    earlier = read_json(workdir / FILE, {})
    return {name: earlier[name] for name in provenance.here() if name in earlier}


class Tested(NamedTuple):
    """A model's masks of test images, and the scores of those with labels (None without any).

    Without labels it is told which masks are `plausible`, and what Jaccard is to be `expected` of each.
    """

    images: Radiographs
    masks: Bool[np.ndarray, "n h w 1"]
    scores: dict[str, Any] | None
    plausible: dict[str, Any]
    expected: dict[str, Any]


def tested(predictor: Predictor, images: Radiographs, shape: Shape) -> Tested:
    """Draw masks of test images and score them; `shape` is that of the source's masks."""
    soft = np.asarray(evaluation.in_batches(predictor.soften, images.images))
    masks = soft > 0.5
    expected = evaluation.summary({"jaccard": metrics.expected_jaccard(soft, masks)}, images.ids)["jaccard"]
    found = shape.plausible(masks).tolist()
    plausible = {
        "count": sum(found),
        "images": len(images),
        "per_image": dict(zip(images.ids, found, strict=True)),
    }
    return Tested(images, masks, evaluation.scores(soft, images, predictor.parts) or None, plausible, expected)


def _cases(test: Tested, drawn: pictures.Pictures) -> list[run_report.Case]:
    """Return the test images, as they are `drawn`, for the report."""
    scores = test.scores or {}
    return [
        run_report.Case(
            name,
            picture,
            {metric: values["per_image"][name] for metric, values in scores.items() if name in values["per_image"]},
            test.plausible["per_image"][name],
            test.expected["per_image"][name],
        )
        for name, picture in zip(test.images.ids, drawn, strict=True)
    ]


def describe(experiment: plans.Experiment) -> dict[str, Any]:
    """Return what a results file says of a run: command, config, seed, commit, device, versions."""
    return {
        **provenance.here(),
        "config": config.to_json(experiment),
        **{name: getattr(experiment, name) for name in ("seed", "source", "target", "label_frac", "image_size")},
    }


def _overlays(test: Tested, drawn: pictures.Pictures, path: Path) -> None:
    """Save the best, the median and the worst of the `drawn` test images, or all without a truth (Figure 9)."""
    order = np.arange(len(test.images))
    groups = np.split(order, range(COLUMNS, len(order), COLUMNS))
    if test.scores is not None:
        scored = np.flatnonzero(test.images.has_mask)
        order = scored[np.argsort(list(test.scores["jaccard"]["per_image"].values()))[::-1]]
        middle = len(order) // 2
        groups = [order[:4], order[max(0, middle - 2) : middle + 2], order[-4:]]
    pictures.save(pictures.grid([drawn[group] for group in groups]), path)


def screen(results: dict[str, Any]) -> str:
    """Return the one-screen summary of a run."""
    route = " -> ".join(filter(None, (results["source"], results["target"])))
    lines = [f"{route}, {results['config']['task']}, "]
    lines[0] += f"{100 * results['label_frac']:g} % labels, {results['image_size']} px, seed {results['seed']}"
    for name, scores in results["test"].items():
        count = len(scores["jaccard"]["per_image"])
        shown = {key: scores[key] for key in SHOWN if key in scores}
        values = "   ".join(f"{key} {value['mean']:6.2f} +/- {value['std']:5.2f}" for key, value in shown.items())
        lines.append(f"  {TITLES[name]:20} {values}   ({count} test images)")
    for name, found in results["plausible"].items():
        if name in results["test"]:
            continue
        expected = results["expected_jaccard"][name]["mean"]
        lines.append(
            f"  {TITLES[name]:20} no labels; {found['count']} of {found['images']} masks are plausible, "
            f"expected jaccard {expected:.2f}"
        )
    if not results.get("converged", True):
        lines.append(f"  did not converge: {'; '.join(results['faults'])}")
    return "\n".join(lines)
