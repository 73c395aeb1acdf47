"""One run from config to results: data, M_A, then the transfer (and self-training) or a baseline, and the test."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from flax import nnx
from jaxtyping import Bool, Int

from cxr_jax import (
    checkpoints,
    config,
    convergence,
    devices,
    inference,
    plans,
    polarity,
    results,
    segmentation,
    self_training,
    transfer,
)
from cxr_jax.data import large, splits
from cxr_jax.data.radiographs import Look, Radiographs, load, prepare
from cxr_jax.data.stream import Stream
from cxr_jax.plausibility import Shape

LEARNED_FROM = "data.json"


class WorkdirError(ValueError):
    """A work directory that belongs to another config, or to other images."""


class Run(NamedTuple):
    """An experiment in its folder, and the runs whose M_A and warmed-up translator it goes on from: by default its own.

    Several runs may go on from one, which trains only as far as they need. A warmed-up translator serves every task.
    """

    experiment: plans.Experiment
    workdir: Path
    start: "Run | None" = None
    warm_start: "Run | None" = None  # by default the start

    @property
    def origin(self) -> "Run":
        """The run in whose folder M_A is."""
        return self.start or self

    @property
    def warm_origin(self) -> "Run":
        """The run in whose folder the warmed-up translator is."""
        return self.warm_start or self.origin

    @property
    def parts(self) -> tuple["Run", ...]:
        """All runs in whose folders something is trained for this one."""
        return self.warm_origin, self.origin, self

    @property
    def stages(self) -> dict[str, Path]:
        """The folders of the stages that led to this run's outcome, by name."""
        own = ("transfer", "self_training", "adaptation")
        folders = {"pretraining": self.origin.workdir, "warmup": self.warm_origin.workdir}
        folders |= dict.fromkeys(own, self.workdir)
        return {name: path for name, folder in folders.items() if (path := folder / name).is_dir()}

    @property
    def outcome(self) -> Path:
        """The folder of the stage whose model is the experiment's outcome."""
        stage = self.experiment.stage
        return (self.origin.workdir if stage == "pretraining" else self.workdir) / stage


class Data(NamedTuple):
    """Both datasets with their splits, and which of B's training images keep their labels; or the source alone.

    Of a target that is too large for memory, `target` is a part, which validates and tests, and the `stream` has all
    other images to train a transfer.
    """

    source: Radiographs
    source_split: splits.Split
    target: Radiographs | None
    target_split: splits.Split | None
    labelled: np.ndarray
    stream: Stream | None = None

    def sides(self) -> tuple[transfer.Sides, transfer.Sides]:
        """Return both datasets' parts in a transfer."""
        parts = (self.source, self.source_split, None), (self.target, self.target_split, self.stream)
        return tuple(
            transfer.Sides(images[split.train], images[split.validation], more) for images, split, more in parts
        )

    def known(self) -> Bool[np.ndarray, " n"]:
        """Tell which of the target's images keep their labels, to train or, where any is left, to choose the epoch."""
        known = np.zeros(len(self.target), bool)
        known[self.target_split.train[self.labelled]] = True
        known[self.judges()] = self.labelled.any()
        return known

    def judges(self) -> Int[np.ndarray, " n"]:
        """Return those of the target's validation images that have a mask."""
        return self.target_split.validation[self.target.has_mask[self.target_split.validation]]

    def learned_from(self, experiment: plans.Experiment) -> dict[str, str]:
        """Return checksums of what an experiment learns of folders, which may change under its hands."""
        found = {}
        if experiment.source_dir is not None:
            found["source_dir"] = self.source.fingerprint()
        if experiment.target_dir is not None and experiment.method != "segmentation":
            seen = self.target if experiment.label_frac > 0 else self.target.with_other_masks(None)
            found["target_dir"] = seen.fingerprint() if self.stream is None else self.stream.checksum
        return found

    def shape(self) -> Shape:
        """Return what the organ looks like in the source's training images."""
        return Shape.of(self.source.masks[self.source_split.train])


def train(experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None) -> dict[str, Any]:
    """Do what is left to do of the experiment in `workdir`; test, and return the results."""
    return train_together([Run(experiment, workdir)], data_dir, manual_dir)[0]


def train_together(runs: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Do the same for several runs of one method, whose models learn together.

    They may differ in seed and share of labels, and segmenters alone in task and fold too.
    """
    for run in runs:
        require_own(run)
    data = [load_data(run.experiment, data_dir, manual_dir) for run in runs]
    for run, datum in zip(runs, data, strict=True):
        claim(run, datum)
    method = runs[0].experiment.method
    if method == "from_scratch":
        _adapt(runs, data, [None] * len(runs))
    else:
        graph, segmenters = _pretrain(runs, data)
        if method == "transfer":
            _transfer(runs, data, graph, segmenters)
            _self_train(runs, data)
        elif method == "fine_tuning":
            _adapt(runs, data, segmenters)
    return [test(run, datum) for run, datum in zip(runs, data, strict=True)]


def _pretrain(runs: Sequence[Run], data: Sequence[Data]) -> tuple[nnx.GraphDef, list[Any]]:
    """Return M_A of each run; runs that go on from the same one share it."""
    origins = {run.origin.workdir: (run.origin, datum) for run, datum in zip(runs, data, strict=True)}
    jobs = [
        segmentation.Job(
            origin.experiment, datum.source, datum.source_split.train, datum.source_split.validation, workdir
        )
        for workdir, (origin, datum) in origins.items()
    ]
    graph, trained = segmentation.pretrain(jobs)
    models = {workdir: segmenter.model for workdir, segmenter in zip(origins, trained, strict=True)}
    return graph, [models[run.origin.workdir] for run in runs]


def _transfer(runs: Sequence[Run], data: Sequence[Data], graph: nnx.GraphDef, segmenters: Sequence[Any]) -> None:
    """Warm a translator up for each origin, and transfer every run from there."""
    jobs = [
        transfer.Job(run.experiment, segmenter, *datum.sides(), datum.labelled, run.workdir)
        for run, datum, segmenter in zip(runs, data, segmenters, strict=True)
    ]
    origins = {
        run.warm_origin.workdir: job._replace(experiment=run.warm_origin.experiment, workdir=run.warm_origin.workdir)
        for run, job in zip(runs, jobs, strict=True)
    }
    warm = transfer.Transfers(list(origins.values()), graph).warm_up()
    states = {workdir: trained.state for workdir, trained in zip(origins, warm, strict=True)}
    transfer.Transfers(jobs, graph).transfer([states[run.warm_origin.workdir] for run in runs])


def _self_train(runs: Sequence[Run], data: Sequence[Data]) -> None:
    """Teach each transferred M_A the target's images by its own masks, and by the labels that count.

    Without labels the last epoch is taken: to agree with its masks of the validation images is no merit.
    """
    jobs = []
    for run, datum in zip(runs, data, strict=True):
        if run.experiment.trains_itself:
            transferred = inference.restore(run.workdir / "transfer")
            target, split = self_training.taught(
                transferred.tidy, datum.target, datum.target_split, datum.known(), datum.shape()
            )
            self_training.record(run.workdir / "self_training", split, datum.known())
            jobs.append(
                segmentation.Job(
                    run.experiment,
                    target,
                    split.train,
                    split.validation,
                    run.workdir,
                    start=transferred.model["segmenter"],
                    trusted=run.experiment.label_frac > 0,
                )
            )
    if jobs:
        segmentation.self_train(jobs)


def _adapt(runs: Sequence[Run], data: Sequence[Data], segmenters: Sequence[Any]) -> None:
    """Train a baseline for each run, on the target's labels, from its M_A or from nothing."""
    jobs = [
        segmentation.Job(
            run.experiment,
            datum.target,
            datum.target_split.train[datum.labelled],
            datum.judges(),
            run.workdir,
            segmenter,
        )
        for run, datum, segmenter in zip(runs, data, segmenters, strict=True)
        if not run.experiment.is_source_only
    ]
    if jobs:
        segmentation.adapt(jobs)


def evaluate(
    experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None
) -> dict[str, Any]:
    """Test the checkpoints of a finished experiment in `workdir` again."""
    return evaluate_run(Run(experiment, workdir), data_dir, manual_dir)


def evaluate_run(run: Run, data_dir: str | None, manual_dir: str | None) -> dict[str, Any]:
    """Do the same for a run, which may go on from others."""
    checkpoints.require_finished(run.outcome / "checkpoints", _epochs(run))  # told before data are prepared
    require_own(run)
    data = load_data(run.experiment, data_dir, manual_dir)
    claim(run, data)
    return test(run, data)


def _epochs(run: Run) -> int:
    """Return the epochs of the stage whose model is the run's outcome."""
    return getattr(run.experiment, run.outcome.name).epochs


def test(run: Run, data: Data) -> dict[str, Any]:
    """Test a run's outcome on the target; where M_A is its own, that too, on both datasets. Return the results."""
    devices.wait_for_all("test")
    tests = {}
    if run.start is None and run.experiment.method != "from_scratch":
        segmenter = run.workdir / "pretraining"
        tests["source"] = segmenter, data.source[data.source_split.test]
        if data.target is not None:
            tests["source_only"] = segmenter, data.target[data.target_split.test]
    if run.experiment.trains_itself:
        tests["before_self_training"] = run.workdir / "transfer", data.target[data.target_split.test]
    if run.experiment.method != "segmentation":
        tests[run.experiment.method] = run.outcome, data.target[data.target_split.test]
    about = {
        "data": {part.name: part.fingerprint() for part in (data.source, data.target) if part is not None},
        "labelled_images": int(data.labelled.sum()),
    }
    if data.stream is not None:
        about["data"][data.stream.name] = data.stream.checksum
        about["streamed_images"] = len(data.stream)
    if run.experiment.method == "transfer":
        about |= convergence.recorded(run.warm_origin.workdir / "warmup", run.workdir / "transfer")
        about["polarity"] = _kept(run.warm_origin.workdir / polarity.FILE)
        about["masks_learned_from"] = _kept(run.workdir / "self_training" / self_training.FILE)
    return results.write(run.experiment, tests, data.shape(), about, run.stages, run.workdir)


def _kept(path: Path) -> Any:
    """Return what a file that a stage left says; None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def require_own(run: Run) -> None:
    """Raise `WorkdirError` if a folder of the run is that of another config."""
    for part in run.parts:
        stored = _kept(part.workdir / "config.json")
        found = [] if stored is None else config.differences(stored, config.to_json(part.experiment))
        if found:
            raise WorkdirError(
                f"{part.workdir} belongs to another config (there / here):\n  " + "\n  ".join(found) + "\n"
                "Give this run another --workdir, or remove that folder"
            )


def claim(run: Run, data: Data) -> None:
    """Make the run's folders its own, with what it learns from; raise `WorkdirError` where that has changed since."""
    for part in run.parts:
        part.workdir.mkdir(parents=True, exist_ok=True)
        if not (part.workdir / "config.json").exists():
            results.write_json(part.workdir / "config.json", config.to_json(part.experiment))
        learned = data.learned_from(part.experiment)
        if not learned or part.experiment.task != run.experiment.task:
            continue
        stored = _kept(part.workdir / LEARNED_FROM) or learned
        for side in learned:
            if stored.get(side) != learned[side]:
                raise WorkdirError(
                    f"{part.workdir} was begun with other images, masks or patients than config.{side} "
                    f"{getattr(part.experiment, side)!r} holds now; what it has learned from may be among today's test "
                    "images. Give this run another --workdir, or put back what was there"
                )
        results.write_json(part.workdir / LEARNED_FROM, learned)


def load_data(experiment: plans.Experiment, data_dir: str | None, manual_dir: str | None) -> Data:
    """Load the datasets and split them; raise `ConfigError` where they lack labels that are needed."""
    folders = {"source": experiment.source_dir, "target": experiment.target_dir}
    if experiment.target is None:
        del folders["target"]
    folders_first = sorted(folders, key=lambda side: folders[side] is None)  # what is wrong with those is told at once
    loaded = {side: _read(experiment, side, data_dir, manual_dir) for side in folders_first}
    (source, _), (target, whole) = loaded["source"], loaded.get("target", (None, None))
    _require_labels(experiment, source, target)
    source = source.with_masks()
    source_split = splits.split(source.ids, experiment.fold, experiment.seed, source.patients)
    if target is None:
        return Data(source, source_split, None, None, np.zeros(0, bool))
    target_split = splits.split(target.ids, experiment.fold, experiment.seed, target.patients)
    labelled = _labelled(experiment, target, target_split.train)
    stream = None
    if whole is not None:
        kept_back = [target.ids[row] for row in (*target_split.validation, *target_split.test)]
        stream = whole.stream(kept_back, _look(experiment, experiment.target))
    data = Data(source, source_split, target, target_split, labelled, stream)
    _require_labels_kept(experiment, data)
    return data


def _read(
    experiment: plans.Experiment, side: str, data_dir: str | None, manual_dir: str | None
) -> tuple[Radiographs, large.Large | None]:
    """Load source or target; of a target that is too large for memory, the part that is held there."""
    name, folder = getattr(experiment, side), getattr(experiment, f"{side}_dir")
    whole = _large(experiment, prepare(name, data_dir, manual_dir, folder)) if side == "target" else None
    places = None if whole is None else whole.held
    size, trim, negate = _look(experiment, name)
    return load(name, experiment.task, size, data_dir, manual_dir, trim, negate, folder, places), whole


def _look(experiment: plans.Experiment, name: str) -> Look:
    return Look(experiment.image_size, experiment.trim, name in experiment.negated)


def _large(experiment: plans.Experiment, builder: tfds.core.DatasetBuilder) -> large.Large | None:
    """Choose which images of the target are held in memory, or return None where all are.

    Raises `ConfigError` where labels are to be learned from, which do not stream, or too few patients are left.
    """
    count, most = large.count(builder), experiment.target_in_memory
    if count <= most:
        return None
    if experiment.label_frac > 0:
        raise config.ConfigError(
            f"config.target {experiment.target!r} has {count} images, of which config.target_in_memory lets {most} be "
            f"held in memory; the others stream, without labels. Expected config.label_frac 0, found "
            f"{experiment.label_frac}: set that, or config.target_in_memory to {count} at least"
        )
    whole = large.choose(builder, most)
    if whole.people < splits.FOLDS:
        raise config.ConfigError(
            f"config.target_in_memory is {most}: expected room for all images of at least {splits.FOLDS} patients of "
            f"{experiment.target!r}, found it for {whole.people}; raise it"
        )
    return whole


def _labelled(experiment: plans.Experiment, target: Radiographs, rows: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return which of the training images, `rows`, keep their label: a share of those that have one."""
    having = rows[target.has_mask[rows]]
    some = target[having]
    return np.isin(rows, having[splits.labelled(some.ids, experiment.label_frac, experiment.seed, some.patients)])


def _require_labels(experiment: plans.Experiment, source: Radiographs, target: Radiographs | None) -> None:
    """Raise `ConfigError` where labels that are needed are not there."""
    if source.masks is None:
        raise config.ConfigError(f"config.source {source.name!r} has no labels for {experiment.task}")
    having = source.with_masks()
    people = set(having.patients or having.ids)
    if len(people) < splits.FOLDS:
        raise config.ConfigError(
            f"config.source {source.name!r}: expected masks for {experiment.task} of at least {splits.FOLDS} images, "
            f"each of another patient where these are known; found {len(people)}"
        )
    if target is None or target.masks is not None:
        return
    if experiment.label_frac > 0:
        raise config.ConfigError(
            f"config.target {target.name!r} has no labels for {experiment.task}; config.label_frac must be 0, "
            f"found {experiment.label_frac}"
        )
    logging.warning("%s has no labels for %s: its results are qualitative", target.name, experiment.task)


def _require_labels_kept(experiment: plans.Experiment, data: Data) -> None:
    """Raise `ConfigError` where a share of the target's labels is asked for, and those there are do not go round."""
    if experiment.label_frac == 0:
        return
    train, validation, _ = data.target_split
    for rows, found, what in (
        (train, data.labelled.sum(), "train"),
        (validation, len(data.judges()), "choose the epoch"),
    ):
        if not found:
            some = ", ".join(data.target.ids[row] for row in rows[:3])
            raise config.ConfigError(
                f"config.target {data.target.name!r}: expected masks for {experiment.task} among the {len(rows)} "
                f"images that {what}, found none; draw some, of {some} say, or take another config.fold"
            )
