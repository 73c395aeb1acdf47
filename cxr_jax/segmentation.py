"""Training and testing of segmenters alone: M_A's pre-training (paper, section V-B)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, PRNGKeyArray, UInt8

from cxr_jax import config, evaluation, losses, optimisers, pictures, platform
from cxr_jax.data import augmentation, sampling
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.models import SEGMENTERS, initialise, join, split_statistics
from cxr_jax.training import Stage, Trained, train


class LabelledImages(NamedTuple):
    """Training images in [0, 255] and masks in {0, 1}, on the device."""

    images: UInt8[Array, "n h w 1"]
    masks: UInt8[Array, "n h w 1"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SegmenterState:
    """All that training changes: one plain pytree, of arrays or of whatever a tree map makes of them."""

    parameters: Any
    statistics: Any  # running statistics of batch norm; empty without
    average: Any  # of the parameters
    optimiser: optax.OptState
    step: Any  # int32 scalar
    key: Any  # random key


def build(experiment: config.Experiment, key: PRNGKeyArray | None) -> tuple[nnx.GraphDef, Any]:
    """Return graph and initial variables of the experiment's segmenter; without a key, shapes alone."""
    section = experiment.segmenter
    return initialise(SEGMENTERS[section["name"]], key, **config.network_sizes(section))


def make_iteration(
    graph: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    settings: config.Pretraining,
    augment: augmentation.Augmentation,
) -> Callable[[SegmenterState, LabelledImages], tuple[SegmenterState, dict[str, Array]]]:
    """Return one training iteration, jitted: draw, augment, descend, average."""

    @partial(jax.jit, donate_argnums=0)
    def iteration(state: SegmenterState, data: LabelledImages) -> tuple[SegmenterState, dict[str, Array]]:
        key_order, key_draw = jax.random.split(state.key)
        key_geometry, key_intensity, key_network = jax.random.split(jax.random.fold_in(key_draw, state.step), 3)
        rows = sampling.batch_indices(key_order, state.step, len(data.images), settings.batch_size)
        images, masks = sampling.take(data, rows)
        images, masks = augmentation.geometry(
            augment, key_geometry, sampling.to_unit(images), masks.astype(jnp.float32)
        )
        images = sampling.to_network(augmentation.intensity(augment, key_intensity, images))

        def objective(parameters: Any) -> tuple[Array, Any]:
            network = nnx.merge(graph, join(parameters, state.statistics))
            loss = losses.cross_entropy(network(images, train=True, key=key_network), masks)
            return loss, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

        (loss, statistics), gradients = jax.value_and_grad(objective, has_aux=True)(state.parameters)
        updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        average = optax.incremental_update(parameters, state.average, 1.0 - settings.average)
        state = SegmenterState(parameters, statistics, average, optimiser_state, state.step + 1, state.key)
        return state, {"segmentation": loss}

    return iteration


def predictor(graph: nnx.GraphDef) -> Callable[[Any, UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]:
    """Return the jitted `predict(variables, images)` of a segmenter: images in [0, 255] to masks."""

    @jax.jit
    def predict(variables: Any, images: UInt8[Array, "b h w 1"]) -> Bool[Array, "b h w 1"]:
        return nnx.merge(graph, variables)(sampling.to_network(sampling.to_unit(images))) > 0

    return predict


def pretrain(
    experiment: config.Experiment, training: Radiographs, validation: Radiographs, workdir: Path
) -> tuple[nnx.GraphDef, Trained]:
    """Train M_A on labelled radiographs; the epoch with the best validation Jaccard is kept."""
    settings = experiment.pretraining
    key_init, key_train = jax.random.split(jax.random.key(experiment.seed))
    graph, variables = build(experiment, key_init)
    parameters, statistics = split_statistics(graph, variables)
    steps = max(1, len(training) // settings.batch_size)
    optimiser = optimisers.adam(
        settings.learning_rate,
        beta1=settings.beta1,
        weight_decay=settings.weight_decay,
        schedule=settings.schedule,
        steps=steps * settings.epochs,
    )
    state = SegmenterState(
        parameters=parameters,
        statistics=statistics,
        average=jax.tree.map(jnp.copy, parameters),
        optimiser=optimiser.init(parameters),
        step=jnp.zeros((), jnp.int32),
        key=key_train,
    )
    predict = predictor(graph)

    def validate(variables: Any) -> dict[str, float]:
        scores = evaluation.overlap(partial(predict, variables), validation)
        return {"score": float(np.mean(scores["jaccard"]))}

    def draw(variables: Any) -> dict[str, np.ndarray]:
        few = validation[np.arange(min(8, len(validation)))]
        masks = predict(variables, few.images)
        return {"validation": pictures.grid([pictures.outlined(few.images, masks, few.masks)])}

    stage = Stage(
        name="pretraining",
        epochs=settings.epochs,
        run_epoch=platform.epoch_runner(make_iteration(graph, optimiser, settings, experiment.augmentation), steps),
        data=LabelledImages(jnp.asarray(training.images), jnp.asarray(training.masks)),
        deploy=lambda state: join(state.average, state.statistics),
        validate=validate,
        pictures=draw,
    )
    return graph, train(stage, state, workdir, config.to_json(experiment))
