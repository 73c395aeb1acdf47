"""Datasets of opposite polarity: told without labels, and where translation then starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax import polarity
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.models import TRANSLATORS, initialise
from cxr_jax.plausibility import Shape
from tests.tiny import TRANSLATOR_SIZES

KEY = jax.random.key(0)
MASK = np.zeros((1, 32, 32, 1), np.uint8)
MASK[:, 8:20, 8:20] = 1
SHAPE = Shape.of(MASK)


def segment(images):
    """Stand for an M_A that has learned dark organs."""
    return images < 100


@pytest.mark.parametrize("negative", [False, True])
def test_the_polarity_with_the_organ_in_it_is_taken(negative, caplog):
    images = np.where(MASK, 30, 220).astype(np.uint8).repeat(3, axis=0)
    target = Radiographs("b", 255 - images if negative else images, None, tuple("xyz"))
    assert polarity.opposed(segment, target, SHAPE) == negative
    assert ("b: M_A finds the organ in 0 of 3 images and in 3 of their negatives" in caplog.text) == negative


def test_without_evidence_images_are_taken_as_they_are():
    blank = Radiographs("b", np.full((3, 32, 32, 1), 128, np.uint8), None, tuple("xyz"))
    assert not polarity.opposed(segment, blank, SHAPE)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_turned_translator_does_with_negatives_of_b_what_it_did_with_b(name):
    graph, parameters = initialise(TRANSLATORS[name], KEY, **TRANSLATOR_SIZES[name])
    before = jax.tree.map(np.asarray, parameters)
    turned = polarity.turned(graph, parameters)
    a, b = (jax.random.uniform(key, (2, 32, 32, 1), minval=-1.0) for key in jax.random.split(KEY))
    translate = jax.jit(lambda parameters, b: nnx.merge(graph, parameters).translate(a, b, KEY))
    (a_to_b, b_to_a), (to_negative, from_negative) = translate(parameters, b), translate(turned, -b)
    np.testing.assert_allclose(to_negative, -a_to_b, atol=1e-5)
    np.testing.assert_allclose(from_negative, b_to_a, atol=1e-5)
    assert not jnp.allclose(a_to_b, -a_to_b)
    assert jax.tree.structure(turned) == jax.tree.structure(parameters)
    jax.tree.map(np.testing.assert_array_equal, before, parameters)
