"""The networks of an experiment: their graphs with parameters or shapes alone, and what a segmenter makes of images."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from cxr_jax import plans, steps
from cxr_jax.data import sampling
from cxr_jax.models import DISCRIMINATORS, SEGMENTERS, TRANSLATORS, Ensemble, initialise


def build_segmenter(experiment: plans.Experiment, key: PRNGKeyArray | None) -> tuple[nnx.GraphDef, Any]:
    """Return graph and initial variables of the experiment's segmenter; without a key, shapes alone."""
    network, sizes = SEGMENTERS[experiment.segmenter["name"]], plans.network_sizes(experiment.segmenter)
    if experiment.ensemble == 1:
        return initialise(network, key, experiment.precision, **sizes)
    members = {"network": network, "members": experiment.ensemble}
    return initialise(Ensemble, key, experiment.precision, **members, **sizes)


def build_translator(experiment: plans.Experiment, key: PRNGKeyArray | None) -> tuple[nnx.GraphDef, Any]:
    """Return graph and initial parameters of the experiment's translator; without a key, shapes alone."""
    return _build(TRANSLATORS, experiment.translator, experiment, key)


def build_transfer(
    experiment: plans.Experiment, segmenter: nnx.GraphDef, key: PRNGKeyArray | None
) -> tuple[steps.Graphs, dict[str, Any]]:
    """Return the graphs and the initial parameters of translator and discriminators; without a key, shapes alone."""
    key_translator, key_a, key_b = (None,) * 3 if key is None else jax.random.split(key, 3)
    graph, parameters = build_translator(experiment, key_translator)
    critic_graph, critic_a = _build(DISCRIMINATORS, experiment.discriminator, experiment, key_a)
    _, critic_b = _build(DISCRIMINATORS, experiment.discriminator, experiment, key_b)
    parameters = {"translator": parameters, "discriminators": {"a": critic_a, "b": critic_b}}
    return steps.Graphs(segmenter, graph, critic_graph), parameters


def _build(
    networks: Mapping[str, type], section: Mapping[str, Any], experiment: plans.Experiment, key: PRNGKeyArray | None
) -> tuple[nnx.GraphDef, Any]:
    return initialise(networks[section["name"]], key, experiment.precision, **plans.network_sizes(section))


@functools.cache  # all who ask for a graph share what is compiled, for as long as the process lives
def probability(graph: nnx.GraphDef) -> Callable[[Any, UInt8[Array, "b h w 1"]], Float[Array, "b h w 1"]]:
    """Return the jitted `probability(variables, images)` of a segmenter's foreground, in [0, 1]."""

    def soften(variables: Any, images: UInt8[Array, "b h w 1"]) -> Float[Array, "b h w 1"]:
        return jax.nn.sigmoid(nnx.merge(graph, variables)(sampling.to_network(sampling.to_unit(images))))

    return jax.jit(soften)


def predictor(graph: nnx.GraphDef) -> Callable[[Any, UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]:
    """Return `predict(variables, images)` of a segmenter: from images in [0, 255] masks, where that exceeds 0.5."""
    soften = probability(graph)
    return lambda variables, images: soften(variables, images) > 0.5
