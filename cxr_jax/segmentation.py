"""Training of segmenters from masks: M_A (paper, section V-B), the cells of Table I, the baselines of Table II."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Int, PRNGKeyArray, UInt8

from cxr_jax import config, devices, evaluation, optimisers, pictures, plans
from cxr_jax import segmentation_steps as steps
from cxr_jax.data import augmentation, sampling
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.models import CRITICS, initialise
from cxr_jax.networks import build_segmenter, predictor
from cxr_jax.plausibility import Shape
from cxr_jax.training import Later, Member, Stage, Trained, train

STREAMS = {"pretraining": 0, "adaptation": 2, "self_training": 3}  # of random numbers, by stage; the transfer's is 1


class LabelledImages(NamedTuple):
    """Training images in [0, 255] and masks in {0, 1}, on the device; only the first `count` are training images."""

    images: UInt8[Array, "n h w 1"]
    masks: UInt8[Array, "n h w 1"]
    count: Int[Array, ""]


class PartlyLabelledImages(NamedTuple):
    """The same, where only some masks are `labelled`; the averaged segmenter draws the others anew in every batch."""

    images: UInt8[Array, "n h w 1"]
    masks: UInt8[Array, "n h w 1"]
    labelled: Bool[Array, " n"]
    count: Int[Array, ""]


class Mixture(NamedTuple):
    """What a mean teacher teaches: the first half of each batch is labelled, the second half partly."""

    labelled: LabelledImages
    partly: PartlyLabelledImages


class Job(NamedTuple):
    """One segmenter to train: on which images, which others choose its epoch, and where it goes."""

    experiment: plans.Experiment
    training: Radiographs
    validation: Radiographs
    epoch: int  # images of an epoch
    shape: Shape  # of the source's masks, which the model's are to be like
    workdir: Path
    start: Any = None  # variables to start from; else new ones
    trusted: bool = True  # whether the validation images choose the epoch, or the start; else the last is taken
    partly: Radiographs | None = None  # further images to learn from, of which some have a mask


class Networks(NamedTuple):
    """The static halves of a segmenter and of its critic, if any, and their optimisers."""

    segmenter: nnx.GraphDef
    optimiser: optax.GradientTransformation
    critic: nnx.GraphDef | None
    critic_optimiser: optax.GradientTransformation | None


def pretrain(jobs: Sequence[Job]) -> tuple[nnx.GraphDef, list[Trained]]:
    """Train M_A of each job on the source's labels, against a critic if the experiment has one."""
    experiment = jobs[0].experiment
    return _train("pretraining", experiment.pretraining, experiment.critic, jobs)


def adapt(jobs: Sequence[Job]) -> tuple[nnx.GraphDef, list[Trained]]:
    """Train the baseline of each job on the target's labels: fine-tuning from its `start`, or from scratch."""
    return _train("adaptation", jobs[0].experiment.adaptation, None, jobs)


def self_train(jobs: Sequence[Job]) -> tuple[nnx.GraphDef, list[Trained]]:
    """Train M_A of each job on labels and on masks that its own average draws of the target (a mean teacher)."""
    return _train("self_training", jobs[0].experiment.settings("self_training"), None, jobs)


def _train(
    name: str, settings: plans.SegmenterTraining, critic: plans.Critic | None, jobs: Sequence[Job]
) -> tuple[nnx.GraphDef, list[Trained]]:
    """Train a segmenter for each job, together; the epoch with the best validation Jaccard is kept, if that is trusted.

    The experiments may differ in seed, task, fold and share of labels alone, where all have some or none. Those whose
    epochs differ in length, as those of organs do of which a folder has unequally many masks, or in what is drawn for
    them, train one after another.
    """
    kinds = [(max(1, job.epoch // settings.batch_size), job.experiment.augments) for job in jobs]
    if len(set(kinds)) > 1:
        found = {}
        for kind in dict.fromkeys(kinds):
            group = [job for job, its in zip(jobs, kinds, strict=True) if its == kind]
            graph, trained = _train(name, settings, critic, group)
            found |= {job.workdir: outcome for job, outcome in zip(group, trained, strict=True)}
        return graph, [found[job.workdir] for job in jobs]
    ((epoch, augments),) = set(kinds)
    networks, states = zip(*(_start(job, name, settings, critic, epoch) for job in jobs), strict=True)
    predict = predictor(networks[0].segmenter)
    capacities = max(len(job.training) for job in jobs), max(len(job.partly or ()) for job in jobs)
    iteration = make_iteration(augments, settings, critic, networks[0], new=jobs[0].start is None)
    members = [_member(job, state, predict, *capacities) for job, state in zip(jobs, states, strict=True)]
    stage = Stage(name, settings.epochs, epoch, iteration, settings.batch_size)
    return networks[0].segmenter, train(stage, members)


def make_iteration(
    augment: augmentation.Augmentation,
    settings: plans.SegmenterTraining,
    critic: plans.Critic | None,
    networks: Networks,
    *,
    new: bool,
) -> Callable[[steps.SegmenterState, LabelledImages | Mixture], tuple[steps.SegmenterState, steps.Metrics]]:
    """Return one training iteration, jitted: draw, augment, take each turn, average the weights (`new` or not).

    The masks that a mixture lacks are drawn by the averaged segmenter of the images in front of their augmentation of
    appearance (mean teacher, Tarvainen & Valpola 2017, with hard labels): what the segmenter learns is to find the
    same in them afterwards.
    """
    weight = 0.0 if critic is None else critic.weight
    turns = [
        steps.make_segmentation_step(networks.segmenter, networks.optimiser, critic=networks.critic, weight=weight)
    ]
    if critic is not None:
        turns.append(steps.make_critic_step(networks.segmenter, networks.critic, networks.critic_optimiser))

    @partial(jax.jit, donate_argnums=0)
    def iteration(
        state: steps.SegmenterState, data: LabelledImages | Mixture
    ) -> tuple[steps.SegmenterState, steps.Metrics]:
        key_order, key_draw = jax.random.split(state.key)
        keys = jax.random.split(jax.random.fold_in(key_draw, state.step), 2 + len(turns))
        images, masks, labelled = devices.shard_batch(_draw(data, key_order, state.step, settings.batch_size))
        images, masks = augmentation.geometry(augment, keys[0], sampling.to_unit(images), masks.astype(jnp.float32))
        if isinstance(data, Mixture):
            teacher = nnx.merge(networks.segmenter, state.average)
            partly = slice(settings.batch_size // 2, None)  # the half in which masks may be missing
            drawn = teacher(sampling.to_network(images[partly])) > 0
            masks = masks.at[partly].set(jnp.where(labelled[partly, None, None, None], masks[partly], drawn))
        images = augmentation.appearance(augment, keys[1], images, masks)
        batch = steps.LabelledBatch(sampling.to_network(images), masks)
        terms = {}
        for turn, key in zip(turns, keys[2:], strict=True):
            state, more = turn(state, batch, key)
            terms |= more
        return steps.average(state, settings.average, new=new), terms

    return iteration


def _draw(
    data: LabelledImages | PartlyLabelledImages | Mixture, key: PRNGKeyArray, step: Int[Array, ""], size: int
) -> tuple[UInt8[Array, "b h w 1"], UInt8[Array, "b h w 1"], Bool[Array, " b"]]:
    """Return images and masks of batch `step`, and which of the masks are labels."""
    if isinstance(data, Mixture):
        few = size // 2
        halves = [
            _draw(data.labelled, key, step, few),
            _draw(data.partly, jax.random.fold_in(key, 1), step, size - few),
        ]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *halves)
    rows = sampling.batch_indices(key, step, data.count, size, len(data.images))
    labelled = data.labelled[rows] if isinstance(data, PartlyLabelledImages) else jnp.ones(size, bool)
    return data.images[rows], data.masks[rows], labelled


def _start(
    job: Job, stage: str, settings: plans.SegmenterTraining, section: plans.Critic | None, epoch: int
) -> tuple[Networks, steps.SegmenterState]:
    """Return a job's networks and the state in front of its first step."""
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(job.experiment.seed), STREAMS[stage]))
    make = partial(
        optimisers.adam,
        beta1=settings.beta1,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        steps=epoch * settings.epochs,
    )
    graph, variables = build_segmenter(job.experiment, key_init)
    optimiser = make(settings.learning_rate)
    segmenter = steps.learner(graph, variables if job.start is None else job.start, optimiser)
    if section is None:
        return Networks(graph, optimiser, None, None), steps.initial_state(segmenter, {}, key_train)
    key_critic, precision = jax.random.fold_in(key_init, 1), job.experiment.precision
    critic_graph, variables = initialise(CRITICS[section.name], key_critic, precision, width=section.width)
    critic_optimiser = make(section.learning_rate)
    critic = steps.learner(critic_graph, variables, critic_optimiser)
    return Networks(graph, optimiser, critic_graph, critic_optimiser), steps.initial_state(segmenter, critic, key_train)


def _member(job: Job, state: steps.SegmenterState, predict: Callable, capacity: int, partly: int) -> Member:
    """Return a job as the training loop takes it; its images are filled up to the capacities with the last ones."""
    validation = job.validation

    def validate(variables: Any) -> Later:
        score = evaluation.overlap(partial(predict, variables), validation)["jaccard"].mean()
        return lambda: {"score" if job.trusted else "agreement": float(score)}

    def draw(variables: Any) -> Later:
        few = validation[np.arange(min(8, len(validation)))]
        batch = validation.images[: evaluation.BATCH_SIZE]  # as large as one of `validate`, so compiled before
        masks = evaluation.in_batches(partial(predict, variables), batch)[: len(few)]
        truth = few.masks if job.trusted else None  # else they are the segmenter's own
        return lambda: {"validation": pictures.grid([pictures.outlined(few.images, masks, truth)])}

    return Member(
        state=state,
        data=_on_device(job, capacity, partly),
        workdir=job.workdir,
        about={"config": config.to_json(job.experiment), "shape": job.shape.plain()},
        deploy=lambda state: state.average,
        validate=validate,
        pictures=draw,
        start_counts=job.start is not None and job.trusted,
    )


def _on_device(job: Job, capacity: int, partly: int) -> LabelledImages | Mixture:
    images, masks = _filled(capacity, job.training.images, job.training.masks)
    labelled = LabelledImages(images, masks, jnp.asarray(len(job.training)))
    if job.partly is None:
        return labelled
    arrays = _filled(partly, job.partly.images, job.partly.masks, job.partly.has_mask)
    return Mixture(labelled, PartlyLabelledImages(*arrays, jnp.asarray(len(job.partly))))


def _filled(capacity: int, *arrays: np.ndarray) -> list[Array]:
    """Put arrays on the device, filled up to `capacity` rows with their last one."""
    rows = np.minimum(np.arange(capacity), len(arrays[0]) - 1)
    return [jnp.asarray(array[rows]) for array in arrays]
