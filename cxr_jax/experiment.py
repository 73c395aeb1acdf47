"""One run from config to results: data, pre-training, transfer, test."""

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging

from cxr_jax import config, evaluation, inference, pictures, plans, segmentation, transfer
from cxr_jax.data import splits
from cxr_jax.data.radiographs import Radiographs, load

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


class WorkdirError(ValueError):
    """A work directory that belongs to another config."""


class Data(NamedTuple):
    """Both datasets with their splits, and which of B's training images keep their labels; or the source alone."""

    source: Radiographs
    source_split: splits.Split
    target: Radiographs | None
    target_split: splits.Split | None
    labelled: np.ndarray


def train(experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None) -> dict[str, Any]:
    """Do what is left to do of the experiment in `workdir`; test, and return the results."""
    return train_together({workdir: experiment}, data_dir, manual_dir)[0]


def train_together(
    experiments: Mapping[Path, plans.Experiment], data_dir: str | None, manual_dir: str | None
) -> list[dict[str, Any]]:
    """Do the same for several, by workdir, whose segmenters learn together: they may differ in seed, task and fold."""
    for workdir, experiment in experiments.items():
        claim(workdir, experiment)
    loaded = {workdir: load_data(experiment, data_dir, manual_dir) for workdir, experiment in experiments.items()}
    jobs = [
        segmentation.Job(experiment, loaded[workdir].source, loaded[workdir].source_split, workdir)
        for workdir, experiment in experiments.items()
    ]
    graph, segmenters = segmentation.pretrain(jobs)
    for (workdir, experiment), segmenter in zip(experiments.items(), segmenters, strict=True):
        if experiment.method == "transfer":
            _transfer(experiment, (graph, segmenter.model), loaded[workdir], workdir)
    return [test(experiment, loaded[workdir], workdir) for workdir, experiment in experiments.items()]


def _transfer(experiment: plans.Experiment, segmenter: tuple, data: Data, workdir: Path) -> None:
    source, target = (
        transfer.Sides(images[split.train], images[split.validation])
        for images, split in ((data.source, data.source_split), (data.target, data.target_split))
    )
    transfer.transfer(experiment, segmenter, source, target, data.labelled, workdir)


def evaluate(
    experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None
) -> dict[str, Any]:
    """Test the checkpoints of a finished run again."""
    inference.restore(workdir / last_stage(experiment))  # what is missing is told before data are prepared
    claim(workdir, experiment)
    return test(experiment, load_data(experiment, data_dir, manual_dir), workdir)


def last_stage(experiment: plans.Experiment) -> str:
    """Return the stage whose model is the experiment's outcome."""
    return "transfer" if experiment.method == "transfer" else "pretraining"


def claim(workdir: Path, experiment: plans.Experiment) -> None:
    """Make `workdir` this experiment's; raise `WorkdirError` if it is another's."""
    path, stored = workdir / "config.json", config.to_json(experiment)
    if path.exists():
        found = config.differences(json.loads(path.read_text()), stored)
        if found:
            raise WorkdirError(
                f"{workdir} belongs to another config (there / here):\n  " + "\n  ".join(found) + "\n"
                "Give this run another --workdir, or remove that folder"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    write_json(path, stored)


def load_data(experiment: plans.Experiment, data_dir: str | None, manual_dir: str | None) -> Data:
    """Load the datasets and split them; raise `ConfigError` where they lack labels that are needed."""
    common = experiment.task, experiment.image_size, data_dir, manual_dir, experiment.trim
    source = load(experiment.source, *common)
    if source.masks is None:
        raise config.ConfigError(f"config.source {source.name!r} has no labels for {experiment.task}")
    source_split = splits.split(source.ids, experiment.fold, experiment.seed)
    if experiment.target is None:
        return Data(source, source_split, None, None, np.zeros(0, bool))
    target = load(experiment.target, *common)
    if target.masks is None:
        if experiment.label_frac > 0:
            raise config.ConfigError(
                f"config.target {target.name!r} has no labels for {experiment.task}; config.label_frac must be 0, "
                f"found {experiment.label_frac}"
            )
        logging.warning("%s has no labels for %s: its results are qualitative", target.name, experiment.task)
    target_split = splits.split(target.ids, experiment.fold, experiment.seed)
    training_ids = [target.ids[index] for index in target_split.train]
    labelled = splits.labelled(training_ids, experiment.label_frac, experiment.seed)
    return Data(source, source_split, target, target_split, labelled)


def test(experiment: plans.Experiment, data: Data, workdir: Path) -> dict[str, Any]:
    """Test the best checkpoints on the test images, write `results.json` and overlays, return the results."""
    predictors = {"source_only": inference.restore(workdir / "pretraining")}
    if experiment.method == "transfer":
        predictors["transfer"] = inference.restore(workdir / "transfer")
    pictures_of = workdir / "overlays"
    tests = {
        "source": test_on(predictors["source_only"], data.source[data.source_split.test], pictures_of / "source.png")
    }
    if data.target is not None:
        target = data.target[data.target_split.test]
        for name, predictor in predictors.items():
            tests[name] = test_on(predictor, target, pictures_of / f"{name}.png")
    results = {
        **describe(experiment),
        "data": {part.name: part.fingerprint() for part in (data.source, data.target) if part is not None},
        "labelled_images": int(data.labelled.sum()),
        "epochs": {name: predictor.epoch for name, predictor in predictors.items()},
        "test": {name: scores for name, scores in tests.items() if scores is not None},
    }
    write_json(workdir / "results.json", results)
    return results


def test_on(predictor: inference.Predictor, images: Radiographs, picture: Path) -> dict[str, Any] | None:
    """Return a model's scores on test images, None where they have no labels, and draw some of its masks."""
    scores = None if images.masks is None else inference.scores(predictor, images)
    overlays(predictor, images, scores, picture)
    return scores


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
    """Draw the best, the median and the worst test images, or the first few where there is no truth."""
    order = np.arange(len(target))
    if scores is not None:
        order = np.argsort(list(scores["jaccard"]["per_image"].values()))[::-1]
    middle = len(order) // 2
    groups = [order[:4], order[middle - 2 : middle + 2], order[-4:]]
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
    titles = {"source": "M_A on the source", "source_only": "M_A on the target", "transfer": "transfer"}
    for name, metrics in results["test"].items():
        count = len(metrics["jaccard"]["per_image"])
        values = "   ".join(f"{key} {value['mean']:6.2f} +/- {value['std']:5.2f}" for key, value in metrics.items())
        lines.append(f"  {titles[name]:18} {values}   ({count} test images)")
    return "\n".join(lines)


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that a killed process leaves the old file or the new one, never half of one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)
