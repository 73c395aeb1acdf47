"""Shapes, sizes and wiring of the translators and discriminators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import DISCRIMINATORS, TRANSLATORS, initialise
from cxr_jax.models.discriminator import downscale
from cxr_jax.models.munit import MUNIT

KEY = jax.random.key(0)


def count(parameters) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def shapes_only(architecture, **sizes) -> int:
    return count(initialise(architecture, None, **sizes)[1])


def test_munit_shallow_and_own_sizes():
    shallow = shapes_only(MUNIT)
    own = shapes_only(MUNIT, width=64, blocks=4, mlp=256)
    assert shallow < 5.0e6 < 25.0e6 < own < 35.0e6


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_keep_the_image_size_and_range(name):
    graph, parameters = initialise(TRANSLATORS[name], KEY, width=4, mlp=8)
    translator = nnx.merge(graph, parameters)
    a, b = jax.random.uniform(KEY, (2, 3, 32, 32, 1), minval=-1.0)
    reference = translator.reference(a, b)
    outputs = [*translator.translate(a, b, KEY), *translator.there_and_back(a, KEY)]
    outputs += [translator.to_a(b, reference), translator.to_b(a, reference)]
    for output in outputs:
        assert output.shape == a.shape
        assert float(jnp.abs(output).max()) <= 1


def test_munit_starts_from_the_same_weights_in_both_domains():
    _, parameters = initialise(MUNIT, KEY, width=4, mlp=8)
    jax.tree.map(np.testing.assert_array_equal, parameters["a"], parameters["b"])


def test_munit_accepts_unequal_batches():
    graph, parameters = initialise(MUNIT, KEY, width=4, mlp=8)
    a, b = jnp.zeros((2, 32, 32, 1)), jnp.zeros((3, 32, 32, 1))
    a_to_b, b_to_a = nnx.merge(graph, parameters).translate(a, b, KEY)
    assert (len(a_to_b), len(b_to_a)) == (2, 3)


def test_content_code_forgets_contrast_and_style_code_remembers_it():
    graph, parameters = initialise(MUNIT, KEY, width=4, mlp=8)
    translator = nnx.merge(graph, parameters)
    image = jax.random.uniform(KEY, (1, 32, 32, 1), minval=-1.0)
    paler = 0.5 * image
    content = [np.asarray(translator.a.content(x)) for x in (image, paler)]
    style = [np.asarray(translator.a.style(x)) for x in (image, paler)]
    np.testing.assert_allclose(*content, atol=2e-3)
    assert np.abs(style[0] - style[1]).max() > 0.05


def test_discriminator_scales():
    graph, parameters = initialise(DISCRIMINATORS["patch"], KEY, width=4, layers=2, scales=3)
    scores = nnx.merge(graph, parameters)(jnp.zeros((2, 32, 32, 1)))
    assert [score.shape for score in scores] == [(2, 8, 8, 1), (2, 4, 4, 1), (2, 2, 2, 1)]


def test_downscale_averages_only_pixels_inside():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype(np.float32)
    expected = np.empty((3, 3), np.float32)
    for i in range(3):
        for j in range(3):
            expected[i, j] = x[0, max(2 * i - 1, 0) : 2 * i + 2, max(2 * j - 1, 0) : 2 * j + 2, 0].mean()
    np.testing.assert_allclose(downscale(jnp.asarray(x))[0, :, :, 0], expected, atol=1e-6)
