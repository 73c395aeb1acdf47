"""The steps in which a segmenter learns from labels alone: its own (paper, section V-B), and those of SCAN's game.

Each step is a pure function `(state, batch, key) -> (state, metrics)` that moves its own part of the state:

============  ============================================  =========
step          moves                                         frozen
============  ============================================  =========
segmentation  parameters and batch statistics of segmenter  critic
critic        parameters and batch statistics of critic     segmenter
============  ============================================  =========
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax import losses, optimisers
from cxr_jax.models import join, split_statistics

Metrics = dict[str, Float[Array, ""]]


class LabelledBatch(NamedTuple):
    """Images in [-1, 1] and masks in [0, 1]."""

    images: Float[Array, "b h w 1"]
    masks: Float[Array, "b h w 1"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Learner:
    """A network that learns: its parameters, running statistics (empty without batch norm) and optimiser."""

    parameters: Any
    statistics: Any
    optimiser: optax.OptState


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SegmenterState:
    """All that training changes: one plain pytree, of arrays or of whatever a tree map makes of them."""

    segmenter: Learner
    average: Any  # of the segmenter's variables: parameters and running statistics
    critic: Any  # a Learner, or an empty dict where no critic takes part
    step: Any  # int32 scalar
    key: Any  # random key


Step = Callable[[SegmenterState, LabelledBatch, PRNGKeyArray], tuple[SegmenterState, Metrics]]


def learner(graph: nnx.GraphDef, variables: Any, optimiser: optax.GradientTransformation) -> Learner:
    """Return a network in front of its first step, from its variables."""
    parameters, statistics = split_statistics(graph, variables)
    return Learner(parameters, statistics, optimiser.init(parameters))


def make_segmentation_step(
    graph: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    *,
    critic: nnx.GraphDef | None = None,
    weight: float = 0.0,
) -> Step:
    """Return the step in which the segmenter descends on cross entropy.

    With a critic (SCAN), `weight` times the cross entropy of "a person drew this" of the soft mask is added: the
    form of the game whose gradient does not vanish while the critic wins. The critic judges by the statistics of the
    batch and keeps none of them.
    """

    def segmentation_step(
        state: SegmenterState, batch: LabelledBatch, key: PRNGKeyArray
    ) -> tuple[SegmenterState, Metrics]:
        def objective(parameters: Any) -> tuple[Float[Array, ""], tuple[Any, Metrics]]:
            segment = nnx.merge(graph, join(parameters, state.segmenter.statistics))
            logits = segment(batch.images, train=True, key=key)
            terms = {"segmentation": losses.cross_entropy(logits, batch.masks)}
            total = terms["segmentation"]
            if critic is not None:
                judge = nnx.merge(critic, join(state.critic.parameters, state.critic.statistics))
                terms["adversarial"] = losses.drawn(judge(batch.images, jax.nn.sigmoid(logits), train=True))
                total += weight * terms["adversarial"]
            return total, (_statistics(segment), terms)

        segmenter, terms = _descended(objective, optimiser, state.segmenter)
        return replace(state, segmenter=segmenter), terms

    return segmentation_step


def make_critic_step(graph: nnx.GraphDef, critic: nnx.GraphDef, optimiser: optax.GradientTransformation) -> Step:
    """Return the step in which SCAN's critic learns drawn masks from the segmenter's soft ones."""

    def critic_step(state: SegmenterState, batch: LabelledBatch, key: PRNGKeyArray) -> tuple[SegmenterState, Metrics]:
        segment = nnx.merge(graph, join(state.segmenter.parameters, state.segmenter.statistics))
        soft = jax.nn.sigmoid(segment(batch.images, train=True, key=key))

        def objective(parameters: Any) -> tuple[Float[Array, ""], tuple[Any, Metrics]]:
            judge = nnx.merge(critic, join(parameters, state.critic.statistics))
            drawn = losses.drawn(judge(batch.images, batch.masks, train=True))
            made = losses.not_drawn(judge(batch.images, soft, train=True))
            return drawn + made, (_statistics(judge), {"critic": drawn + made})

        learned, terms = _descended(objective, optimiser, state.critic)
        return replace(state, critic=learned), terms

    return critic_step


def average(state: SegmenterState, decay: float, *, new: bool) -> SegmenterState:
    """Return the state after an iteration: its average followed, its step counted.

    Of a `new` segmenter, which began with random weights, the average forgets these (`cxr_jax.optimisers.follow`).
    """
    step = state.step if new else None
    averaged = optimisers.follow(_variables(state.segmenter), state.average, decay, step)
    return replace(state, average=averaged, step=state.step + 1)


def initial_state(segmenter: Learner, critic: Learner | dict, key: PRNGKeyArray) -> SegmenterState:
    """Return the state in front of the first step, all of it copied: several may start from one network."""
    state = SegmenterState(segmenter, _variables(segmenter), critic, jnp.zeros((), jnp.int32), key)
    return jax.tree.map(jnp.copy, state)


def _variables(network: Learner) -> Any:
    return join(network.parameters, network.statistics)


def _statistics(network: nnx.Module) -> Any:
    return nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))


def _descended(
    objective: Callable[[Any], tuple[Float[Array, ""], tuple[Any, Metrics]]],
    optimiser: optax.GradientTransformation,
    network: Learner,
) -> tuple[Learner, Metrics]:
    """Return a network after one optimiser step on `objective`, whose extra is its new statistics and the terms."""
    parameters, optimiser_state, (statistics, terms) = optimisers.descend(
        objective, optimiser, network.parameters, network.optimiser
    )
    return Learner(parameters, statistics, optimiser_state), terms
