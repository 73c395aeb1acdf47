"""An ensemble is its networks: their mean where it predicts, each for itself where it learns."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax import optimisers
from cxr_jax import segmentation_steps as steps
from cxr_jax.models import Ensemble, initialise, join, split_statistics
from cxr_jax.models.invertednet import InvertedNet
from cxr_jax.models.segnet import SegNet
from cxr_jax.models.unet import UNet

KEY = jax.random.key(0)
MEMBERS = 3
IMAGES = jax.random.uniform(KEY, (2, 16, 16, 1), minval=-1.0)
MASKS = (IMAGES > 0.2).astype(jnp.float32)


@pytest.fixture(scope="module")
def ensemble():
    """Return graph and variables of an ensemble, and the graph of one of its networks."""
    alone, _ = initialise(UNet, None, width=8, depth=1)
    return *initialise(Ensemble, KEY, network=UNet, members=MEMBERS, width=8, depth=1), alone


def test_it_predicts_the_mean_probability_of_its_networks(ensemble):
    graph, variables, alone = ensemble
    members = [jax.nn.sigmoid(nnx.merge(alone, own)(IMAGES)) for own in variables["networks"].values()]
    assert len(members) == MEMBERS
    assert min(np.abs(one - other).max() for one, other in itertools.pairwise(members)) > 0.01
    found = jax.nn.sigmoid(nnx.merge(graph, variables)(IMAGES))
    np.testing.assert_allclose(found, np.mean(members, axis=0), atol=1e-5)


def test_the_mean_of_the_sure_is_finite_and_sure(ensemble):
    graph, variables, _ = ensemble
    variables = jax.tree.map(jnp.copy, variables)
    for network, bias in zip(variables["networks"].values(), (-300.0, -200.0, -400.0), strict=True):
        network["head"]["bias"] = jnp.full(1, bias)
        network["head"]["kernel"] *= 0
    logits = nnx.merge(graph, variables)(IMAGES)
    np.testing.assert_allclose(logits, -200.0 - np.log(MEMBERS), rtol=1e-5)


def test_each_network_learns_as_it_would_alone(ensemble):
    graph, variables, alone = ensemble
    batch = steps.LabelledBatch(IMAGES, MASKS)
    optimiser = optimisers.adam(1e-2, beta1=0.9, weight_decay=0.1, schedule="constant", steps=1)

    def learn(graph, variables):
        step = jax.jit(steps.make_segmentation_step(graph, optimiser))
        state = steps.initial_state(steps.learner(graph, variables, optimiser), {}, KEY)
        for _ in range(5):
            state, _ = step(state, batch, KEY)
        return state.segmenter.parameters

    together = learn(graph, variables)["networks"]
    for own, after in zip(variables["networks"].values(), together.values(), strict=True):
        jax.tree.map(partial(np.testing.assert_allclose, atol=2e-3), after, learn(alone, own))


def test_each_network_drops_out_for_itself():
    graph, variables = initialise(Ensemble, KEY, network=InvertedNet, members=2, width=16)
    first = variables["networks"][0]
    twins = {"networks": {0: first, 1: first}}
    images = jax.random.normal(KEY, (1, *[2 * InvertedNet.size_multiple()] * 2, 1))
    train = jax.jit(lambda variables: nnx.merge(graph, variables)(images, train=True, key=KEY))
    one, other = train(twins)
    assert np.abs(one - other).max() > 1e-4


def test_each_network_keeps_statistics_of_its_own():
    graph, variables = initialise(Ensemble, KEY, network=SegNet, members=2, width=2)
    parameters, statistics = split_statistics(graph, variables)

    @jax.jit
    def train(variables):
        network = nnx.merge(graph, variables)
        network(jnp.broadcast_to(IMAGES[:, :1, :1], (2, 32, 32, 1)), train=True)
        return nnx.to_pure_dict(nnx.state(network))

    after, moved = split_statistics(graph, train(join(parameters, statistics)))
    jax.tree.map(np.testing.assert_array_equal, after, parameters)
    one, other = (jax.tree.leaves(moved["networks"][member]) for member in (0, 1))
    assert any(np.abs(x - y).max() > 0 for x, y in zip(one, other, strict=True))
    assert all(
        np.abs(x - y).max() > 0 for x, y in zip(jax.tree.leaves(moved), jax.tree.leaves(statistics), strict=True)
    )
