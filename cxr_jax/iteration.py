"""One iteration of the transfer: a batch is drawn and augmented, the three steps take their turns with it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import devices, optimisers, plans, steps
from cxr_jax.data import augmentation, sampling
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.data.stream import Chunks

Images = UInt8[Array, "n h w 1"]


class TrainingImages(NamedTuple):
    """The training images of both datasets on the device; an unlabelled image's mask is blank."""

    a: Images
    a_masks: Images
    b: Images
    b_masks: Images
    b_labelled: Bool[Array, " n"]


class StreamedTrainingImages(NamedTuple):
    """The same, whose images of B are, in each epoch, another chunk of a stream; the first epoch sees chunk `first`."""

    training: TrainingImages
    chunks: Chunks
    first: int

    def of_epoch(self, epoch: int) -> TrainingImages:
        """Return those of an epoch, in which no image of B has a label."""
        b = self.chunks.at(self.first + epoch)
        return self.training._replace(b=b, b_masks=jnp.zeros_like(b), b_labelled=jnp.zeros(len(b), bool))

    def close(self) -> None:
        """Stop reading ahead."""
        self.chunks.close()


def make_optimisers(settings: plans.Transfer, steps_per_epoch: int) -> steps.Optimisers:
    """Return one optimiser a step; the schedules run over the epochs in which the step takes part.

    In the supervised step M_A's weights decay, the translator's in the generative step alone. Supervision does not
    reach all of those (not the style of B, which is drawn there), and where a decay stands alone Adam makes full steps
    of it, down to nothing.
    """
    make = partial(optimisers.adam, schedule=settings.schedule)
    game = {"beta1": settings.beta1, "weight_decay": settings.weight_decay}
    whole = steps_per_epoch * (settings.warmup_epochs + settings.epochs)
    return steps.Optimisers(
        discriminative=make(settings.learning_rate, steps=whole, **game),
        generative=make(settings.learning_rate, steps=whole, **game),
        supervised=make(
            settings.supervised_learning_rate,
            beta1=settings.supervised_beta1,
            weight_decay=settings.supervised_weight_decay,
            decayed={"segmenter": True, "translator": False},
            steps=steps_per_epoch * settings.epochs,
        ),
    )


def make_turns(
    experiment: plans.Experiment, graphs: steps.Graphs, tools: steps.Optimisers, *, target_labels: bool
) -> tuple[steps.Turn, ...]:
    """Return the discriminative, the generative and the supervised step, each compiled by itself.

    So warm-up and transfer share the programs of the first two.
    """
    settings, augment = experiment.transfer, experiment.augments

    def perturb(
        images: Float[Array, "b h w 1"], masks: Float[Array, "b h w 1"], key: jax.Array
    ) -> Float[Array, "b h w 1"]:
        return sampling.to_network(augmentation.appearance(augment, key, sampling.from_network(images), masks))

    turns = (
        steps.make_discriminative_step(graphs, tools.discriminative),
        steps.make_generative_step(graphs, tools.generative, settings.weights),
        steps.make_supervised_step(
            graphs, tools.supervised, settings.supervised_looks, target_labels=target_labels, perturb=perturb
        ),
    )
    return tuple(turn.compiled() for turn in turns)


def make_iteration(
    experiment: plans.Experiment, turns: Sequence[steps.Turn]
) -> Callable[[steps.TransferState, TrainingImages], tuple[steps.TransferState, steps.Metrics]]:
    """Return one iteration: draw and augment a batch, take each turn with it, average the weights."""
    settings = experiment.transfer

    @jax.jit
    def draw(key: jax.Array, step: Array, training: TrainingImages) -> tuple[steps.Batch, jax.Array]:
        key_order, key_draw = jax.random.split(key)
        keys = jax.random.split(jax.random.fold_in(key_draw, step), 1 + len(turns))
        batch = draw_batch(training, key_order, keys[0], step, settings.batch_size, experiment.augments)
        return batch, keys[1:]

    @partial(jax.jit, donate_argnums=0)
    def finish(average: Any, step: Array, current: Any) -> tuple[Any, Array]:
        return optimisers.follow(current, average, settings.average, step), step + 1

    def iteration(state: steps.TransferState, training: TrainingImages) -> tuple[steps.TransferState, steps.Metrics]:
        batch, keys = draw(state.key, state.step, training)
        terms = {}
        for turn, key in zip(turns, keys, strict=True):
            state, step_terms = turn(state, batch, key)
            terms |= step_terms
        current = {"segmenter": state.segmenter, "translator": state.translator}
        average, step = finish(state.average, state.step, current)
        return replace(state, average=average, step=step), terms

    return iteration


def draw_batch(
    training: TrainingImages,
    key_order: jax.Array,
    key_geometry: jax.Array,
    step: Array,
    batch_size: int,
    augment: augmentation.Augmentation,
) -> steps.Batch:
    """Return batch `step`: images of either dataset, each in its own order and geometry."""
    order_a, order_b = jax.random.split(key_order)
    geometry_a, geometry_b = jax.random.split(key_geometry)
    rows_a = sampling.batch_indices(order_a, step, len(training.a), batch_size)
    rows_b = sampling.batch_indices(order_b, step, len(training.b), batch_size)

    def prepare(key: jax.Array, images: Images, masks: Images) -> tuple[Array, Array]:
        images, masks = augmentation.geometry(augment, key, sampling.to_unit(images), masks.astype(jnp.float32))
        return sampling.to_network(images), masks

    a, a_masks = prepare(geometry_a, *devices.shard_batch((training.a[rows_a], training.a_masks[rows_a])))
    b, b_masks = prepare(geometry_b, *devices.shard_batch((training.b[rows_b], training.b_masks[rows_b])))
    return steps.Batch(a, a_masks, b, b_masks, training.b_labelled[rows_b])


def training_images(source: Radiographs, target: Radiographs, labelled: np.ndarray) -> TrainingImages:
    """Put training images on the device. Masks of unlabelled target images are left behind on the host."""
    blank = np.zeros_like(target.images)
    b_masks = blank if target.masks is None else target.masks * labelled[:, None, None, None].astype(np.uint8)
    return TrainingImages(*map(jnp.asarray, (source.images, source.masks, target.images, b_masks, labelled)))
