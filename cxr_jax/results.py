"""What a finished run leaves: the scores of its test images, overlays, `results.json`, a summary."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cxr_jax import config, evaluation, files, inference, pictures, plans
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.plausibility import Shape

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
FILE = "results.json"
COLUMNS = 7  # of a picture of all test images
SHOWN = ("jaccard", "dice", "jaccard_tidied")  # of the metrics, in the summary
TITLES = {
    "source": "M_A on the source",
    "source_only": "M_A on the target",
    "before_self_training": "before self-training",
    "transfer": "transfer",
    "fine_tuning": "fine-tuning",
    "from_scratch": "from scratch",
}


def write(
    experiment: plans.Experiment,
    tests: Mapping[str, tuple[Path, Radiographs]],
    shape: Shape,
    about: Mapping[str, Any],
    workdir: Path,
) -> dict[str, Any]:
    """Test models on images, draw overlays, write `results.json` and return what it holds.

    `tests` says by name where a model's checkpoint is and what it is tested on; masks are plausible where they have
    the `shape` of the source's. `about` is added to the results.
    """
    predictors = {folder: inference.restore(folder) for folder in dict.fromkeys(folder for folder, _ in tests.values())}
    scores = {
        name: test_on(predictors[folder], images, workdir / "overlays" / f"{name}.png")
        for name, (folder, images) in tests.items()
    }
    results = {
        **describe(experiment),
        **about,
        "epochs": {name: predictors[folder].epoch for name, (folder, _) in tests.items()},
        "test": {name: values for name, values in scores.items() if values is not None},
        "plausible": {name: _plausible(predictors[folder], images, shape) for name, (folder, images) in tests.items()},
    }
    write_json(workdir / FILE, results)
    return results


def test_on(predictor: inference.Predictor, images: Radiographs, picture: Path) -> dict[str, Any] | None:
    """Return a model's scores on the test images that have labels, None where none has, and draw some of its masks."""
    known = images.with_masks()
    scores = inference.scores(predictor, known) if len(known) else None
    overlays(predictor, known if len(known) else images.with_other_masks(None), scores, picture)
    return scores


def _plausible(predictor: inference.Predictor, images: Radiographs, shape: Shape) -> dict[str, Any]:
    """Return how many masks can be the organ, and which, told without labels."""
    found = shape.plausible(np.asarray(evaluation.in_batches(predictor.predict, images.images)))
    per_image = dict(zip(images.ids, found.tolist(), strict=True))
    return {"count": int(found.sum()), "images": len(images), "per_image": per_image}


def describe(experiment: plans.Experiment) -> dict[str, Any]:
    """Return what a results file says of a run: command, config, seed, commit, device, versions."""
    device = jax.devices()[0]
    return {
        "command": shlex.join(["python", *sys.argv]),
        "config": config.to_json(experiment),
        **{name: getattr(experiment, name) for name in ("seed", "source", "target", "label_frac", "image_size")},
        "commit": commit(),
        "device": f"{device.device_kind} x{jax.device_count()}",
        "versions": {package: version(package) for package in PACKAGES} | {"python": sys.version.split()[0]},
    }


def commit() -> str:
    """Return the commit of the code that runs, marked where the tree was changed; `unknown` outside of git."""
    here = Path(__file__).parent
    try:
        words = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(words, cwd=here, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def overlays(predictor: inference.Predictor, target: Radiographs, scores: dict | None, path: Path) -> None:
    """Draw the best, the median and the worst test images, or all where there is no truth (Figure 9)."""
    order = np.arange(len(target))
    groups = np.split(order, range(COLUMNS, len(order), COLUMNS))
    if scores is not None:
        order = np.argsort(list(scores["jaccard"]["per_image"].values()))[::-1]
        middle = len(order) // 2
        groups = [order[:4], order[max(0, middle - 2) : middle + 2], order[-4:]]
    masks = np.asarray(evaluation.in_batches(predictor.predict, target.images))
    rows = [
        pictures.outlined(target.images[g], masks[g], None if target.masks is None else target.masks[g]) for g in groups
    ]
    pictures.save(pictures.grid(rows), path)


def screen(results: dict[str, Any]) -> str:
    """Return the one-screen summary of a run."""
    route = " -> ".join(filter(None, (results["source"], results["target"])))
    lines = [f"{route}, {results['config']['task']}, "]
    lines[0] += f"{100 * results['label_frac']:g} % labels, {results['image_size']} px, seed {results['seed']}"
    for name, metrics in results["test"].items():
        count = len(metrics["jaccard"]["per_image"])
        shown = {key: metrics[key] for key in SHOWN if key in metrics}
        values = "   ".join(f"{key} {value['mean']:6.2f} +/- {value['std']:5.2f}" for key, value in shown.items())
        lines.append(f"  {TITLES[name]:20} {values}   ({count} test images)")
    for name, found in results["plausible"].items():
        if name in results["test"]:
            continue
        lines.append(f"  {TITLES[name]:20} no labels; {found['count']} of {found['images']} masks are plausible")
    if not results.get("converged", True):
        lines.append(f"  did not converge: {'; '.join(results['faults'])}")
    return "\n".join(lines)


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    files.write(path, json.dumps(content, indent=1) + "\n")
