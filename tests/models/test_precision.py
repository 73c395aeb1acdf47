"""Networks that compute in bfloat16: what they keep in 32 bits, what they do not, and how near they come."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import DISCRIMINATORS, SEGMENTERS, TRANSLATORS, initialise, join, split_statistics
from tests.tiny import TRANSLATOR_SIZES

KEY = jax.random.key(0)
IMAGES = jnp.linspace(-1, 1, 2 * 32 * 32).reshape(2, 32, 32, 1)
SIZES = {"unet": {"width": 8, "depth": 2}, "fcn": {"width": 2}, "segnet": {"width": 2}, "invertednet": {"width": 16}}
SIZES |= {"scan": {"width": 2}, "patch": {"width": 4, "scales": 2}, **TRANSLATOR_SIZES}
NETWORKS = {**SEGMENTERS, **DISCRIMINATORS, **TRANSLATORS}


def apply(name, graph, variables):
    """Return what a network makes of the images, whatever kind it is."""
    network = nnx.merge(graph, variables)
    return network.objectives(IMAGES, IMAGES, KEY) if name in TRANSLATORS else network(IMAGES)


def equations(jaxpr) -> Iterator[jax.extend.core.JaxprEqn]:
    for equation in jaxpr.eqns:
        yield equation
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda leaf: hasattr(leaf, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def made_by(name, precision, primitive) -> list[jax.extend.core.JaxprEqn]:
    """Return the equations of a primitive in what a network computes."""
    graph, variables = initialise(NETWORKS[name], KEY, precision, **SIZES[name])
    traced = jax.make_jaxpr(lambda variables: apply(name, graph, variables))(variables)
    return [equation for equation in equations(traced.jaxpr) if equation.primitive.name == primitive]


def types(name, precision) -> set[str]:
    """Return the types of what a network's convolutions give."""
    return {str(e.outvars[0].aval.dtype) for e in made_by(name, precision, "conv_general_dilated")}


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_have_the_precision_that_was_asked_for(name):
    assert types(name, "float32") == {"float32"}
    assert types(name, "bfloat16") == {"bfloat16"}


def test_transposed_convolutions_too_but_not_the_sums_of_normalisations():
    found = {(e.outvars[0].aval.ndim, str(e.outvars[0].aval.dtype)) for e in made_by("unet", "bfloat16", "dot_general")}
    assert found == {(6, "bfloat16"), (3, "float32")}
    products = [e.outvars[0].aval for e in made_by("fcn", "bfloat16", "dot_general")]
    assert {str(product.dtype) for product in products if product.ndim == 4} == {"bfloat16"}  # fc6, a convolution too


@pytest.mark.parametrize("name", NETWORKS)
def test_variables_and_results_have_32_bits(name):
    graph, variables = initialise(NETWORKS[name], None, "bfloat16", **SIZES[name])
    results = jax.eval_shape(lambda variables: apply(name, graph, variables), variables)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, results))} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", ["unet", "munit"])
def test_results_are_near_those_of_32_bits(name):
    graph, variables = initialise(NETWORKS[name], KEY, **SIZES[name])
    half_graph, same = initialise(NETWORKS[name], KEY, "bfloat16", **SIZES[name])
    jax.tree.map(np.testing.assert_array_equal, variables, same)
    exact, half = (jax.jit(partial(apply, name, either))(variables) for either in (graph, half_graph))
    for one, other in zip(jax.tree.leaves(exact), jax.tree.leaves(half), strict=True):
        assert jnp.abs(one - other).mean() <= 0.03 * max(1.0, float(jnp.abs(one).mean()))
        assert not (one == other).all()


def test_gradients_and_batch_statistics_have_32_bits():
    graph, variables = initialise(SEGMENTERS["segnet"], KEY, "bfloat16", width=2)
    parameters, statistics = split_statistics(graph, variables)

    def loss(parameters):
        network = nnx.merge(graph, join(parameters, statistics))
        return (network(IMAGES, train=True) ** 2).mean(), nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    gradients, after = jax.jit(jax.grad(loss, has_aux=True))(parameters)
    for leaf in jax.tree.leaves((gradients, after)):
        assert leaf.dtype == jnp.float32
        assert jnp.isfinite(leaf).all()
