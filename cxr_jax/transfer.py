"""The transfer from A to B: warm-up of the translator, then all three steps alternate (paper, section IV-C)."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from cxr_jax import config, evaluation, image_pool, optimisers, plans, steps
from cxr_jax.data import augmentation, sampling
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.models import DISCRIMINATORS, TRANSLATORS, initialise
from cxr_jax.training import Member, Stage, Trained, train
from cxr_jax.views import Views

Images = UInt8[Array, "n h w 1"]


class Pools(NamedTuple):
    """The training images of both datasets on the device; an unlabelled image's mask is blank and never read."""

    a: Images
    a_masks: Images
    b: Images
    b_masks: Images
    b_labelled: Bool[Array, " n"]


class Sides(NamedTuple):
    """One dataset's part in a transfer."""

    training: Radiographs
    validation: Radiographs


def build(
    experiment: plans.Experiment, segmenter: nnx.GraphDef, key: PRNGKeyArray | None
) -> tuple[steps.Graphs, dict[str, Any]]:
    """Return the graphs and the initial parameters of translator and discriminators; without a key, shapes alone."""
    key_translator, key_a, key_b = (None,) * 3 if key is None else jax.random.split(key, 3)
    translator, critic = experiment.translator, experiment.discriminator
    graph, parameters = initialise(TRANSLATORS[translator["name"]], key_translator, **plans.network_sizes(translator))
    sizes = plans.network_sizes(critic)
    critic_graph, critic_a = initialise(DISCRIMINATORS[critic["name"]], key_a, **sizes)
    _, critic_b = initialise(DISCRIMINATORS[critic["name"]], key_b, **sizes)
    parameters = {"translator": parameters, "discriminators": {"a": critic_a, "b": critic_b}}
    return steps.Graphs(segmenter, graph, critic_graph), parameters


def make_optimisers(settings: plans.Transfer, steps_per_epoch: int) -> steps.Optimisers:
    """Return one optimiser a step; the schedules run over the epochs in which the step takes part."""
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
            steps=steps_per_epoch * settings.epochs,
        ),
    )


def make_turns(experiment: plans.Experiment, graphs: steps.Graphs, tools: steps.Optimisers) -> tuple[steps.Step, ...]:
    """Return the discriminative, the generative and the supervised step, each compiled by itself.

    So warm-up and transfer share the programs of the first two.
    """
    settings, augment = experiment.transfer, experiment.augmentation

    def perturb(images: Float[Array, "b h w 1"], key: jax.Array) -> Float[Array, "b h w 1"]:
        unit = augmentation.intensity(augment, key, sampling.from_network(images))
        return sampling.to_network(unit)

    labels = experiment.label_frac > 0
    turns = (
        steps.make_discriminative_step(graphs, tools.discriminative),
        steps.make_generative_step(graphs, tools.generative, settings.weights),
        steps.make_supervised_step(
            graphs, tools.supervised, settings.supervised_looks, target_labels=labels, perturb=perturb
        ),
    )
    return tuple(jax.jit(turn, donate_argnums=0) for turn in turns)


def make_iteration(
    experiment: plans.Experiment, turns: Sequence[steps.Step]
) -> Callable[[steps.TransferState, Pools], tuple[steps.TransferState, steps.Metrics]]:
    """Return one iteration: draw and augment a batch, take each turn with it, average the weights."""
    settings = experiment.transfer

    @jax.jit
    def draw(key: jax.Array, step: Array, pools: Pools) -> tuple[steps.Batch, jax.Array]:
        key_order, key_draw = jax.random.split(key)
        keys = jax.random.split(jax.random.fold_in(key_draw, step), 1 + len(turns))
        batch = draw_batch(pools, key_order, keys[0], step, settings.batch_size, experiment.augmentation)
        return batch, keys[1:]

    @partial(jax.jit, donate_argnums=0)
    def finish(state: steps.TransferState) -> steps.TransferState:
        current = {"segmenter": state.segmenter, "translator": state.translator}
        average = optax.incremental_update(current, state.average, 1.0 - settings.average)
        return replace(state, average=average, step=state.step + 1)

    def iteration(state: steps.TransferState, pools: Pools) -> tuple[steps.TransferState, steps.Metrics]:
        batch, keys = draw(state.key, state.step, pools)
        terms = {}
        for turn, key in zip(turns, keys, strict=True):
            state, step_terms = turn(state, batch, key)
            terms |= step_terms
        return finish(state), terms

    return iteration


def draw_batch(
    pools: Pools,
    key_order: jax.Array,
    key_geometry: jax.Array,
    step: Array,
    batch_size: int,
    augment: augmentation.Augmentation,
) -> steps.Batch:
    """Return batch `step`: images of either dataset, each in its own order and geometry."""
    order_a, order_b = jax.random.split(key_order)
    geometry_a, geometry_b = jax.random.split(key_geometry)
    rows_a = sampling.batch_indices(order_a, step, len(pools.a), batch_size)
    rows_b = sampling.batch_indices(order_b, step, len(pools.b), batch_size)

    def prepare(key: jax.Array, images: Images, masks: Images) -> tuple[Array, Array]:
        images, masks = augmentation.geometry(augment, key, sampling.to_unit(images), masks.astype(jnp.float32))
        return sampling.to_network(images), masks

    a, a_masks = prepare(geometry_a, pools.a[rows_a], pools.a_masks[rows_a])
    b, b_masks = prepare(geometry_b, pools.b[rows_b], pools.b_masks[rows_b])
    return steps.Batch(a, a_masks, b, b_masks, pools.b_labelled[rows_b])


def make_pools(source: Radiographs, target: Radiographs, labelled: np.ndarray) -> Pools:
    """Put training images on the device. Masks of unlabelled target images are left behind on the host."""
    blank = np.zeros_like(target.images)
    b_masks = blank if target.masks is None else target.masks * labelled[:, None, None, None].astype(np.uint8)
    return Pools(*map(jnp.asarray, (source.images, source.masks, target.images, b_masks, labelled)))


def transfer(
    experiment: plans.Experiment,
    segmenter: tuple[nnx.GraphDef, Any],
    source: Sides,
    target: Sides,
    labelled: np.ndarray,
    workdir: Path,
) -> tuple[Views, Trained]:
    """Warm the translator up, then transfer the pre-trained `segmenter` (graph and parameters).

    An epoch is one pass over the smaller dataset, with as many images of the larger one.

    The epoch is chosen on A's validation images through the cycle, so no label of B counts; where B has
    labels (`label_frac` above 0), on B's validation images.
    """
    settings = experiment.transfer
    segmenter_graph, segmenter_parameters = segmenter
    key_init, key_train = jax.random.split(jax.random.fold_in(jax.random.key(experiment.seed), 1))
    graphs, parameters = build(experiment, segmenter_graph, key_init)
    steps_per_epoch = max(1, min(len(source.training), len(target.training)) // settings.batch_size)
    tools = make_optimisers(settings, steps_per_epoch)
    turns = make_turns(experiment, graphs, tools)
    pools = make_pools(source.training, target.training, labelled)
    views = Views(graphs, settings.target_look)

    def deploy(state: steps.TransferState) -> dict[str, Any]:
        reference = _reference(views, state.average["translator"], pools)
        return {**state.average, "reference": reference}

    def validate(model: Any) -> dict[str, float]:
        cycle = evaluation.overlap(partial(views.segment_cycle, model), source.validation)
        values = {"cycle_jaccard": float(np.mean(cycle["jaccard"]))}
        values["score"] = values["cycle_jaccard"]
        if experiment.label_frac > 0:
            direct = evaluation.overlap(partial(views.segment_target, model), target.validation)
            values["score"] = float(np.mean(direct["jaccard"]))
        return values

    def run(name: str, epochs: int, state: steps.TransferState, *, supervised: bool) -> Trained:
        iteration = make_iteration(experiment, turns if supervised else turns[:2])
        member = Member(
            state=state,
            data=pools,
            workdir=workdir,
            config=config.to_json(experiment),
            deploy=deploy,
            validate=validate if supervised else lambda model: {},
            pictures=lambda model: {"translation": views.picture(model, source.validation, target.validation)},
        )
        return train(Stage(name, epochs, steps_per_epoch, iteration), [member])[0]

    size = experiment.image_size
    remembered = {domain: image_pool.empty(settings.image_pool, size, size) for domain in "ab" if settings.image_pool}
    start = steps.initial_state(
        graphs, **parameters, segmenter=segmenter_parameters, optimisers=tools, key=key_train, pools=remembered
    )
    warm = run("warmup", settings.warmup_epochs, start, supervised=False)
    return views, run("transfer", settings.epochs, warm.state, supervised=True)


def _reference(views: Views, translator: Any, pools: Pools) -> Any:
    """Return the translator's mean reference codes of the training images of either dataset, one row each."""
    count = min(len(pools.a), len(pools.b))
    codes = evaluation.in_batches(partial(views.reference, translator), pools.a[:count], pools.b[:count])
    return jax.tree.map(lambda code: code.mean(axis=0, keepdims=True), codes)
