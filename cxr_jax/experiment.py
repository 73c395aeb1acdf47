"""One run from config to results: data, M_A, then the transfer (and self-training) or a baseline, and the test."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flax import nnx

from cxr_jax import (
    checkpoints,
    convergence,
    datasets,
    devices,
    inference,
    plans,
    polarity,
    results,
    segmentation,
    self_training,
    transfer,
)
from cxr_jax.data import splits
from cxr_jax.datasets import Data
from cxr_jax.files import read_json
from cxr_jax.runs import Run, claim, held, require_own


def train(experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None) -> dict[str, Any]:
    """Do what is left to do of the experiment in `workdir`; test, and return the results."""
    return train_together([Run(experiment, workdir)], data_dir, manual_dir)[0]


def train_together(runs: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Do the same for several runs of one method, whose models learn together.

    They may differ in seed and share of labels, where all have some or none, and segmenters alone in task and fold too.
    """
    for run in runs:
        require_own(run)
    data = [datasets.load(run.experiment, data_dir, manual_dir) for run in runs]
    with held(runs):
        for run, datum in zip(runs, data, strict=True):
            claim(run, datum)
        _train(runs, data)
        return [test(run, datum) for run, datum in zip(runs, data, strict=True)]


def _train(runs: Sequence[Run], data: Sequence[Data]) -> None:
    """Train the stages that the runs have, which are those of each."""
    stages = runs[0].experiment.stages
    graph, segmenters = _pretrain(runs, data) if "pretraining" in stages else (None, [None] * len(runs))
    if "transfer" in stages:
        _transfer(runs, data, graph, segmenters)
    if "self_training" in stages:
        segmentation.self_train([_self_training(run, datum) for run, datum in zip(runs, data, strict=True)])
    if "adaptation" in stages:
        segmentation.adapt([_adaptation(*of_run) for of_run in zip(runs, data, segmenters, strict=True)])


def _pretrain(runs: Sequence[Run], data: Sequence[Data]) -> tuple[nnx.GraphDef, list[Any]]:
    """Return M_A of each run; runs that go on from the same one share it."""
    origins = {run.origin.workdir: (run.origin, datum) for run, datum in zip(runs, data, strict=True)}
    jobs = [
        segmentation.Job(
            origin.experiment,
            datum.source[datum.source_split.train],
            datum.source[datum.source_split.validation],
            splits.training_share(len(datum.source)),
            datum.shape(),
            workdir,
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
    warmed = [states[run.warm_origin.workdir] for run in runs]
    epoch = int(warmed[0].step) // runs[0].experiment.transfer.warmup_epochs
    transfer.Transfers(jobs, graph, epoch).transfer(warmed)


def _self_training(run: Run, data: Data) -> segmentation.Job:
    """Return how M_A is taught the target's images by its own masks, beside labels: the target's, or the source's.

    Without labels of the target the last epoch is taken: to agree with its masks of the validation images is no merit.
    """
    teacher, shape, known = inference.restore(_untaught(run)), data.shape(), data.known()
    trusted = run.experiment.label_frac > 0
    if run.experiment.method == "self_training" and not trusted:
        polarity.require_alike(run.workdir, teacher.predict, data.sides()[1].images, shape, run.experiment)
    target, split = self_training.taught(teacher.tidy, data.target, data.target_split, known, shape)
    self_training.record(run.workdir / "self_training", split, known)
    partly = replace(target, annotated=known)[split.train]
    return segmentation.Job(
        run.experiment,
        partly.with_masks() if trusted else data.source[data.source_split.train],
        data.target[data.judges()] if trusted else target[split.validation],
        # Beside labels batches are twice adaptation's, and there are as many of them.
        2 * data.labelled_epoch if trusted else splits.training_share(len(target)),
        shape,
        run.workdir,
        start=teacher.model["segmenter"] if run.experiment.method == "transfer" else teacher.model,
        trusted=trusted,
        partly=partly,
    )


def _untaught(run: Run) -> Path:
    """Return the folder of the stage whose M_A teaches itself: transferred, or as it is."""
    return run.workdir / "transfer" if run.experiment.method == "transfer" else run.origin.workdir / "pretraining"


def _adaptation(run: Run, data: Data, segmenter: Any | None) -> segmentation.Job:
    """Return how a baseline learns from the target's labels, on from its M_A or from nothing."""
    return segmentation.Job(
        run.experiment,
        data.target[data.target_split.train[data.labelled]],
        data.target[data.judges()],
        data.labelled_epoch,
        data.shape(),
        run.workdir,
        segmenter,
    )


def evaluate(
    experiment: plans.Experiment, workdir: Path, data_dir: str | None, manual_dir: str | None
) -> dict[str, Any]:
    """Test the checkpoints of a finished experiment in `workdir` again."""
    return evaluate_run(Run(experiment, workdir), data_dir, manual_dir)


def evaluate_run(run: Run, data_dir: str | None, manual_dir: str | None) -> dict[str, Any]:
    """Do the same for a run, which may go on from others."""
    require_own(run)
    checkpoints.require_finished(run.outcome / "checkpoints", _epochs(run))  # told before data are prepared
    data = datasets.load(run.experiment, data_dir, manual_dir)
    with held([run]):
        claim(run, data)
        return test(run, data)


def _epochs(run: Run) -> int:
    """Return the epochs of the stage whose model is the run's outcome."""
    return run.experiment.settings(run.outcome.name).epochs


def test(run: Run, data: Data) -> dict[str, Any]:
    """Test a run's outcome on the target; where M_A is its own, that too, on both datasets. Return the results."""
    devices.wait_for_all("test")
    tests = {}
    if run.start is None and run.experiment.method != "from_scratch":
        segmenter = run.workdir / "pretraining"
        tests["source"] = segmenter, data.source[data.source_split.test]
        if data.target is not None:
            tests["source_only"] = segmenter, data.target[data.target_split.test]
    if run.experiment.method == "transfer" and run.experiment.trains_itself:
        tests["before_self_training"] = _untaught(run), data.target[data.target_split.test]
    if run.experiment.method != "segmentation":
        tests[run.experiment.method] = run.outcome, data.target[data.target_split.test]
    about = {
        "data": {part.name: part.fingerprint() for part in (data.source, data.target) if part is not None},
        "labelled_images": int(data.labelled.sum()),
    }
    if data.stream is not None and run.experiment.method == "transfer":
        about["data"][data.stream.name] = data.stream.checksum
        about["streamed_images"] = len(data.stream)
    if run.experiment.method == "transfer":
        about |= convergence.recorded(run.warm_origin.workdir / "warmup", run.workdir / "transfer")
        about["polarity"] = read_json(run.warm_origin.workdir / polarity.FILE)
    if run.experiment.method == "transfer" or run.experiment.trains_itself:
        about["masks_learned_from"] = read_json(run.workdir / "self_training" / self_training.FILE)
    return results.write(run.experiment, tests, data.shape(), about, run.stages, run.workdir)
