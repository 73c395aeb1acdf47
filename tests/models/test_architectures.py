"""Shapes, sizes and wiring of the translators and discriminators."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import DISCRIMINATORS, TRANSLATORS, Translator, initialise, unit
from cxr_jax.models.cyclegan import CycleGAN
from cxr_jax.models.discriminator import downscale
from cxr_jax.models.munit import MUNIT, DatasetStyleMUNIT
from cxr_jax.models.unit import UNIT
from tests import tiny

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
def test_translators_have_what_the_protocol_asks_for(name):
    methods = [method for method, value in vars(Translator).items() if inspect.isfunction(value) and method[0] != "_"]
    assert {"translate", "objectives", "there_and_back", "to_a", "to_b"} < set(methods)
    for method in methods:
        asked, given = (inspect.signature(getattr(kind, method)) for kind in (Translator, TRANSLATORS[name]))
        assert list(given.parameters) == list(asked.parameters)
    assert 32 % TRANSLATORS[name].size_multiple(**tiny.TRANSLATOR_SIZES[name]) == 0


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_keep_the_image_size_and_range(name):
    graph, parameters = initialise(TRANSLATORS[name], KEY, **tiny.TRANSLATOR_SIZES[name])
    translator = nnx.merge(graph, parameters)
    a, b = jax.random.uniform(KEY, (2, 3, 32, 32, 1), minval=-1.0)
    reference = translator.reference(a, b)
    outputs = [*translator.translate(a, b, KEY), *translator.there_and_back(a, b, KEY)]
    outputs += [translator.to_a(b, reference), translator.to_b(a, reference)]
    for output in outputs:
        assert output.shape == a.shape
        assert float(jnp.abs(output).max()) <= 1


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_of_several_downsamplings_keep_the_image_size(name):
    graph, parameters = initialise(TRANSLATORS[name], None, **tiny.TRANSLATOR_SIZES[name] | {"downsamplings": 3})
    images = jnp.zeros((1, 32, 32, 1))
    found = jax.eval_shape(lambda parameters: nnx.merge(graph, parameters).translate(images, images, KEY), parameters)
    assert [output.shape for output in found] == 2 * [images.shape]


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators_name_the_terms_they_return(name):
    graph, parameters = initialise(TRANSLATORS[name], KEY, **tiny.TRANSLATOR_SIZES[name])
    a, b = jax.random.uniform(KEY, (2, 1, 16, 16, 1), minval=-1.0)
    terms, _ = nnx.merge(graph, parameters).objectives(a, b, KEY)
    assert set(terms) == set(TRANSLATORS[name].TERMS)


def test_one_style_a_dataset_is_the_mean_of_its_images_and_spread_their_distance_from_it():
    graph, parameters = initialise(DatasetStyleMUNIT, KEY, **tiny.TRANSLATOR_SIZES["munit_dataset_style"])
    translator = nnx.merge(graph, parameters)
    a, b = jax.random.uniform(KEY, (2, 3, 16, 16, 1), minval=-1.0)
    style_a, style_b = translator.target_styles(a[:2], b, KEY)
    np.testing.assert_allclose(style_a, np.tile(translator.a.style(a[:2]).mean(axis=0), (3, 1)), rtol=1e-5)
    np.testing.assert_allclose(style_b, np.tile(translator.b.style(b).mean(axis=0), (2, 1)), rtol=1e-5)
    terms, _ = translator.objectives(a, b, KEY)
    codes = [np.asarray(side.style(images)) for side, images in ((translator.a, a), (translator.b, b))]
    expected = sum(np.abs(code - code.mean(axis=0)).mean() for code in codes)
    assert float(terms["spread"]) == pytest.approx(expected, rel=1e-4)
    assert not np.allclose(translator.there_and_back(a, b, KEY)[0], translator.there_and_back(a, -b, KEY)[0])


def test_cyclegan_has_the_generators_of_its_paper():
    assert shapes_only(CycleGAN) == pytest.approx(2 * 11.4e6, rel=0.03)


def test_unit_shares_the_layers_next_to_the_latent_code():
    sizes = tiny.TRANSLATOR_SIZES["unit"]
    _, parameters = initialise(UNIT, KEY, **sizes)
    for part in ("encode", "decode"):
        jax.tree.map(np.testing.assert_array_equal, parameters[f"{part}_a"], parameters[f"{part}_b"])
    channels = sizes["width"] * 2 ** sizes["downsamplings"]
    of_a_block = 2 * (9 * channels + 1) * channels
    assert count(parameters["shared_encoder"]) == count(parameters["shared_decoder"]) == of_a_block
    with pytest.raises(ValueError, match="blocks must be at least 1, the shared one, found 0"):
        initialise(UNIT, None, blocks=0)


def test_unit_codes_are_gaussians_of_unit_variance():
    code = jax.random.normal(KEY, (2, 8, 8, 64)) * 3 + 1
    noise = np.asarray(unit._noisy(code, KEY) - code)
    assert noise.mean() == pytest.approx(0, abs=0.05)
    assert noise.std() == pytest.approx(1, abs=0.05)
    mean = np.asarray(code, np.float64)
    divergence = 0.5 * (1.0 + mean**2 - 1.0 - np.log(1.0))  # of N(mean, 1) from N(0, 1)
    assert float(unit._kl(code)) == pytest.approx(divergence.mean(), rel=1e-5)


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
