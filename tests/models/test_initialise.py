"""Variables of networks: parameters that are learned, and statistics that training carries along."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from cxr_jax.losses import cross_entropy
from cxr_jax.models import TRANSLATORS, initialise, join, split_statistics
from cxr_jax.models.segnet import SegNet
from cxr_jax.models.unet import UNet

KEY = jax.random.key(0)


def names(tree) -> set[str]:
    return {str(path[-1].key) for path, _ in jax.tree.leaves_with_path(tree)}


def test_a_network_without_statistics_is_its_parameters():
    graph, variables = initialise(UNet, KEY, width=8, depth=1)
    parameters, statistics = split_statistics(graph, variables)
    assert statistics == {}
    jax.tree.map(np.testing.assert_array_equal, parameters, variables)
    jax.tree.map(np.testing.assert_array_equal, join(parameters, statistics), variables)


@pytest.mark.parametrize(("architecture", "sizes"), [(SegNet, {"width": 4}), (TRANSLATORS["munit"], {"width": 4})])
@pytest.mark.parametrize("key", [None, KEY])
def test_join_undoes_split(architecture, sizes, key):
    graph, variables = initialise(architecture, key, **sizes)
    parameters, statistics = split_statistics(graph, variables)
    assert jax.tree.structure(join(parameters, statistics)) == jax.tree.structure(variables)
    for joined, leaf in zip(jax.tree.leaves(join(parameters, statistics)), jax.tree.leaves(variables), strict=True):
        assert joined is leaf
    assert names(statistics) == ({"mean", "var"} if architecture is SegNet else set())
    assert not names(parameters) & {"mean", "var"}


def test_networks_of_one_kind_share_nothing_that_can_be_changed():
    one, other = (initialise(UNet, None, width=8, depth=1)[1] for _ in range(2))
    for leaf in list(one):
        del one[leaf]
    assert jax.tree.structure(other) == jax.tree.structure(initialise(UNet, KEY, width=8, depth=1)[1])
    assert len(jax.tree.leaves(other)) > 0


def test_other_kinds_of_variables_are_refused():
    class Counting(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs):
            self.count = nnx.Variable(jnp.zeros(()))

    with pytest.raises(ValueError, match=r"(?s)Non-exhaustive filters, got .*count"):
        initialise(Counting, None)


def test_training_learns_parameters_and_carries_statistics():
    graph, variables = initialise(SegNet, KEY, width=4)
    parameters, statistics = split_statistics(graph, variables)
    optimiser = optax.adam(1e-2)
    images = jax.random.uniform(KEY, (2, 32, 32, 1), minval=-1.0)
    masks = jnp.zeros_like(images).at[:, :, 16:].set(1.0)

    @jax.jit
    def step(parameters, statistics, optimiser_state):
        def objective(parameters):
            network = nnx.merge(graph, join(parameters, statistics))
            loss = cross_entropy(network(images, train=True), masks)
            return loss, nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

        (loss, moved), gradients = jax.value_and_grad(objective, has_aux=True)(parameters)
        updates, optimiser_state = optimiser.update(gradients, optimiser_state, parameters)
        return optax.apply_updates(parameters, updates), moved, optimiser_state, loss, gradients

    state = parameters, statistics, optimiser.init(parameters)
    losses = []
    for _ in range(10):
        *state, loss, gradients = step(*state)
        losses.append(float(loss))
    assert losses[-1] < 0.8 * losses[0]
    assert jax.tree.structure(gradients) == jax.tree.structure(parameters)
    learned, moved, _ = state
    assert jax.tree.structure(moved) == jax.tree.structure(statistics)
    for before, after in zip(jax.tree.leaves((parameters, statistics)), jax.tree.leaves((learned, moved)), strict=True):
        assert (before != after).any()

    @jax.jit
    def infer(variables):
        network = nnx.merge(graph, variables)
        return network(images), nnx.to_pure_dict(nnx.state(network, nnx.BatchStat))

    logits, kept = infer(join(learned, moved))
    jax.tree.map(np.testing.assert_array_equal, kept, moved)
    assert logits.shape == masks.shape
