"""The transfer from A to B: warm-up of the translator, then all three steps alternate (paper, section IV-C)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Bool

from cxr_jax import config, convergence, evaluation, image_pool, iteration, plans, polarity, steps
from cxr_jax.checkpoints import saved_epochs
from cxr_jax.data.stream import Chunks
from cxr_jax.datasets import Side
from cxr_jax.networks import build_transfer, predictor
from cxr_jax.plausibility import Shape
from cxr_jax.training import Later, Member, Stage, Trained, TrainingDiverged, attempt
from cxr_jax.views import Views


class Job(NamedTuple):
    """One transfer: the pre-trained segmenter's variables, both datasets, B's labels that count, and where it goes."""

    experiment: plans.Experiment
    segmenter: Any
    source: Side
    target: Side
    labelled: Bool[np.ndarray, " n"]
    workdir: Path


class Transfers:
    """Transfers that advance together: the networks, optimisers and compiled steps that they share.

    Their experiments may differ in seed and label fraction alone. An epoch is one pass over the smaller dataset, with
    as many images of the larger one.
    """

    def __init__(self, jobs: Sequence[Job], segmenter: nnx.GraphDef, steps_per_epoch: int | None = None):
        """Prepare networks and steps; nothing is compiled yet.

        What goes on from another task's warm-up has epochs as long as those, which its schedules count on.
        """
        self.jobs, self.experiment = jobs, jobs[0].experiment
        self.settings = self.experiment.transfer
        graphs, _ = build_transfer(self.experiment, segmenter, None)
        smaller = min(jobs[0].source.count, jobs[0].target.count)
        self.steps_per_epoch = steps_per_epoch or max(1, smaller // self.settings.batch_size)
        self.graphs = graphs
        self.tools = iteration.make_optimisers(self.settings, self.steps_per_epoch)
        self.turns = iteration.make_turns(
            self.experiment, graphs, self.tools, target_labels=any(job.experiment.label_frac > 0 for job in jobs)
        )
        self.views = Views(graphs, self.settings.target_look)

    def warm_up(self) -> list[Trained]:
        """Train the translators of all jobs without supervision, from new weights."""
        return self._converge("warmup", self._start)

    def transfer(self, warm: Sequence[steps.TransferState]) -> list[Trained]:
        """Take all three steps in turn, from warmed-up states.

        The epoch is chosen on A's validation images through the cycle, so no label of B counts; where B has
        labels (`label_frac` above 0), on B's validation images.
        """
        states = {job.workdir: state for job, state in zip(self.jobs, warm, strict=True)}

        def start(job: Job, trial: int) -> steps.TransferState:
            state = steps.with_segmenter(states[job.workdir], self.graphs, job.segmenter, self.tools)
            return replace(state, key=jax.random.fold_in(state.key, trial))

        return self._converge("transfer", start)

    def _converge(self, name: str, start: Callable[[Job, int], steps.TransferState]) -> list[Trained]:
        """Train all jobs; one that did not converge starts again, from `start(job, trial)`, as often as it may.

        What a failed trial left is set aside as `NAME_failed_TRIAL`. A job that never converges keeps its last trial,
        and its record says so; one whose losses are not even finite raises `TrainingDiverged` when the others are done.
        """
        limits, outcomes, diverged, pending = self.settings.convergence, {}, [], list(self.jobs)
        scales = self.experiment.discriminator.get("scales", 1)
        while pending:
            trials = [convergence.failures(job.workdir / name) for job in pending]
            members = [self._member(name, job, start(job, trial)) for job, trial in zip(pending, trials, strict=True)]
            again = []
            for job, trial, outcome in zip(pending, trials, self._attempt(name, members), strict=True):
                folder = job.workdir / name
                verdict = convergence.judge(folder, outcome, limits, scales=scales, supervised=name == "transfer")
                if verdict.faults and trial < limits.restarts:
                    logging.warning("%s: %s; starting again", folder, "; ".join(verdict.faults))
                    convergence.set_aside(folder, trial)
                    again.append(job)
                elif isinstance(outcome, TrainingDiverged):
                    diverged.append(outcome)
                else:
                    convergence.record(folder, verdict, trial)
                    outcomes[job.workdir] = outcome
            pending = again
        if diverged:
            raise diverged[0]
        return [outcomes[job.workdir] for job in self.jobs]

    def _attempt(self, name: str, members: Sequence[Member]) -> list[Trained | TrainingDiverged]:
        supervised = name == "transfer"
        turns = self.turns if supervised else self.turns[:2]
        epochs = self.settings.epochs if supervised else self.settings.warmup_epochs
        play = iteration.make_iteration(self.experiment, turns)
        return attempt(Stage(name, epochs, self.steps_per_epoch, play, self.settings.batch_size), members)

    def _start(self, job: Job, trial: int) -> steps.TransferState:
        """Return the state in front of a trial of the warm-up."""
        seed = jax.random.fold_in(jax.random.key(job.experiment.seed), 1)
        key_init, key_train = jax.random.split(jax.random.fold_in(seed, trial))
        _, parameters = build_transfer(job.experiment, self.graphs.segmenter, key_init)
        segment = partial(predictor(self.graphs.segmenter), job.segmenter)
        name, shape = job.target.validation.name, Shape.of(job.source.training.masks)
        if polarity.opposed(job.workdir, segment, name, job.target.images, shape):
            if not saved_epochs(job.workdir / "warmup" / "checkpoints"):  # which would take their place
                translator = polarity.turned(self.graphs.translator, parameters["translator"], job.experiment)
                parameters["translator"] = translator
            if job.experiment.augments.effusion:
                logging.warning(
                    "%s: bones are dark, but effusions are drawn bright; leave them out: "
                    "--config.augmentation.effusion=0.0",
                    name,
                )
        places, size = self.settings.image_pool, job.experiment.image_size
        pools = {domain: image_pool.empty(places, size, size) for domain in "ab" if places}
        return steps.initial_state(
            self.graphs, **parameters, segmenter=job.segmenter, optimisers=self.tools, key=key_train, pools=pools
        )

    def _member(self, name: str, job: Job, state: steps.TransferState) -> Member:
        training = iteration.training_images(job.source.training, job.target.training, job.labelled)
        shape = Shape.of(job.source.training.masks)

        def deploy(state: steps.TransferState) -> dict[str, Any]:
            return {**state.average, "reference": _reference(self.views, state.average["translator"], training)}

        def validate(model: Any) -> Later:
            seen = convergence.see(self.views, model, job.source.validation, job.target.validation)
            parts = [convergence.measure(seen, shape)]
            if name == "transfer":
                parts.append(_score(job, seen))
            return lambda: {key: value for part in parts for key, value in part().items()}

        def draw(model: Any) -> Later:
            picture = self.views.picture(model, job.source.validation, job.target.validation)
            return lambda: {"translation": picture()}

        data = training if job.target.stream is None else self._streamed(name, job, training)
        about = {"config": config.to_json(job.experiment), "shape": shape.plain()}
        return Member(state, data, job.workdir, about, deploy, validate, draw)

    def _streamed(self, name: str, job: Job, training: iteration.TrainingImages) -> iteration.StreamedTrainingImages:
        """Return the images of each epoch of a stage; the transfer goes on where the warm-up's passes ended."""
        chunks = Chunks(job.target.stream, self.steps_per_epoch * self.settings.batch_size, job.experiment.seed)
        return iteration.StreamedTrainingImages(
            training, chunks, 0 if name == "warmup" else self.settings.warmup_epochs
        )


def _score(job: Job, seen: convergence.Seen) -> Later:
    """Send off what chooses the epoch."""
    cycle = evaluation.overlap_of(seen.cycle, job.source.validation)["jaccard"].mean()
    chosen, target = cycle, job.target.validation
    if job.experiment.label_frac > 0:
        chosen = evaluation.overlap_of(seen.target[target.has_mask], target.with_masks())["jaccard"].mean()
    return lambda: {"cycle_jaccard": float(cycle), "score": float(chosen)}


def _reference(views: Views, translator: Any, training: iteration.TrainingImages) -> Any:
    """Return, by domain, the mean of the translator's reference codes of all its training images, as one row."""
    counts = {"a": len(training.a), "b": len(training.b)}
    rows = np.arange(max(counts.values()))  # the smaller dataset comes round again, which is not counted
    codes = evaluation.in_batches(
        partial(views.reference, translator), training.a[rows % counts["a"]], training.b[rows % counts["b"]]
    )
    return {domain: code[: counts[domain]].mean(axis=0, keepdims=True) for domain, code in codes.items()}
