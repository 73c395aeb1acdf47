"""Shapes, sizes and wiring of the networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax.models import DISCRIMINATORS, SEGMENTERS, TRANSLATORS, initialise
from cxr_jax.models.discriminator import downscale
from cxr_jax.models.munit import MUNIT
from cxr_jax.models.unet import UNet

KEY = jax.random.key(0)


def count(parameters) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def shapes_only(architecture, **sizes) -> int:
    return count(initialise(architecture, None, **sizes)[1])


@pytest.mark.parametrize("name", SEGMENTERS)
def test_segmenters_map_images_to_logits(name):
    graph, parameters = initialise(SEGMENTERS[name], KEY, width=8)
    images = jax.random.normal(KEY, (2, 32, 48, 1))
    logits = nnx.merge(graph, parameters)(images)
    assert logits.shape == images.shape


def test_unet_has_the_published_size():
    assert shapes_only(UNet) == pytest.approx(31.0e6, rel=0.01)


def test_unet_depends_on_every_parameter_and_sees_the_whole_image():
    graph, parameters = initialise(UNet, KEY, width=8, depth=2)
    images = jax.random.normal(KEY, (1, 32, 32, 1))

    def centre(parameters, images):
        return nnx.merge(graph, parameters)(images)[0, 16, 16, 0]

    to_parameters, to_images = jax.grad(centre, argnums=(0, 1))(parameters, images)
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(to_parameters))
    assert float(jnp.abs(to_images[0, 0, 0, 0])) > 0  # group norm carries what convolutions do not reach


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
