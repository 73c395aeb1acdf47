"""Datasets of opposite polarity: told without labels, and where translation then starts."""

import json
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax import polarity
from cxr_jax.models import TRANSLATORS, initialise
from cxr_jax.plausibility import Shape
from tests import tiny
from tests.tiny import TRANSLATOR_SIZES

KEY = jax.random.key(0)
MASK = np.zeros((1, 32, 32, 1), np.uint8)
MASK[:, 8:20, 8:20] = 1
SHAPE = Shape.of(MASK)


def segment(images):
    """Stand for an M_A that has learned dark organs."""
    return images < 100


def told(folder, images) -> dict:
    """Return the verdict on images and what was written down of it."""
    verdict = polarity.opposed(folder, segment, "b", images, SHAPE)
    found = json.loads((folder / polarity.FILE).read_text())
    assert found.pop("opposed") == verdict
    return found | {"verdict": verdict}


def images(positive: int, negative: int, blank: int) -> np.ndarray:
    """Return so many images with a dark organ, with a bright one, and with none."""
    one = np.where(MASK, 30, 220).astype(np.uint8)
    return np.concatenate([one.repeat(positive, 0), (255 - one).repeat(negative, 0), 0 * one.repeat(blank, 0) + 128])


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((4, 0, 0), False),
        ((0, 4, 0), True),
        ((0, 0, 4), False),
        ((0, 1, 9), False),
        ((2, 4, 0), False),
        ((1, 4, 5), True),
        ((0, 2, 0), False),
    ],
)
def test_negatives_are_taken_on_clear_evidence_alone(tmp_path, numbers, verdict, caplog):
    found = told(tmp_path / "new", images(*numbers))
    expected = {"images": sum(numbers), "found_in_images": numbers[0], "found_in_negatives": numbers[1]}
    assert found == expected | {"verdict": verdict}
    assert ("of their negatives, from which translation starts" in caplog.text) == verdict


def test_the_verdict_stands_once_it_is_told(tmp_path):
    first = told(tmp_path, images(0, 4, 0))
    assert told(tmp_path, images(4, 0, 0)) == first


def test_a_translator_that_keeps_polarity_is_not_turned():
    graph, parameters = initialise(TRANSLATORS["cyclegan"], KEY, **TRANSLATOR_SIZES["cyclegan"])
    plan = replace(tiny.experiment(), translator={"name": "cyclegan"})
    both = "('phantom/a', 'phantom/b')"
    for negated, shown in (((), "('phantom/b',)"), (("phantom/b",), "()"), (("phantom/a",), both)):
        message = f'cyclegan keeps an image\'s polarity: .*--config.negated="{re.escape(shown)}"'
        with pytest.raises(polarity.PolarityError, match=message):
            polarity.turned(graph, parameters, replace(plan, negated=negated))


@pytest.mark.parametrize("name", sorted(TRANSLATORS.keys() - {"cyclegan"}))
def test_a_turned_translator_does_with_negatives_of_b_what_it_did_with_b(name):
    graph, parameters = initialise(TRANSLATORS[name], KEY, **TRANSLATOR_SIZES[name])
    before = jax.tree.map(np.asarray, parameters)
    turned = polarity.turned(graph, parameters, tiny.experiment())
    a, b = (jax.random.uniform(key, (2, 32, 32, 1), minval=-1.0) for key in jax.random.split(KEY))
    translate = jax.jit(lambda parameters, b: nnx.merge(graph, parameters).translate(a, b, KEY))
    (a_to_b, b_to_a), (to_negative, from_negative) = translate(parameters, b), translate(turned, -b)
    np.testing.assert_allclose(to_negative, -a_to_b, atol=1e-5)
    np.testing.assert_allclose(from_negative, b_to_a, atol=1e-5)
    assert not jnp.allclose(a_to_b, -a_to_b)
    assert jax.tree.structure(turned) == jax.tree.structure(parameters)
    jax.tree.map(np.testing.assert_array_equal, before, parameters)


def test_self_training_needs_equal_polarity(tmp_path):
    plan = tiny.experiment(method="self_training")
    polarity.require_alike(tmp_path / "alike", segment, images(4, 0, 0), SHAPE, plan)
    message = re.escape(
        "take --config.method=transfer, or have images inverted as they are loaded, by --config.negated="
    )
    with pytest.raises(polarity.PolarityError, match=message):
        polarity.require_alike(tmp_path / "opposed", segment, images(0, 4, 0), SHAPE, plan)
    both = replace(plan, source="radiograph_folder", target="radiograph_folder")
    with pytest.raises(polarity.PolarityError, match="invert the files of one of the two folders"):
        polarity.require_alike(tmp_path / "opposed", segment, images(0, 4, 0), SHAPE, both)
