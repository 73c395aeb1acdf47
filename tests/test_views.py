"""What a transferred model makes of images: which network sees what of the other, in either look."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from cxr_jax import steps
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.views import SHOWN, Views


class Threshold(nnx.Module):
    """M_A finds what is brighter than a limit."""

    def __init__(self):
        self.limit = nnx.Param(jnp.array(0.1))

    def __call__(self, images):
        return images - self.limit[...]


class Linear(nnx.Module):
    """To B images are scaled and shifted, to A they are halved: neither undoes the other."""

    def __init__(self):
        self.scale = nnx.Param(jnp.array(1.5))

    def to_b(self, a, reference):
        return self.scale[...] * a + reference["b"]

    def to_a(self, b, reference):
        return b / 2 + reference["a"]


def variables(module: nnx.Module) -> dict:
    return nnx.to_pure_dict(nnx.state(module))


GRAPHS = steps.Graphs(*(nnx.graphdef(network()) for network in (Threshold, Linear, Threshold)))  # no critic is asked
MODEL = {
    "segmenter": variables(Threshold()),
    "translator": variables(Linear()),
    "reference": {"a": jnp.array(-0.11), "b": jnp.array(0.3)},
}


def stored(count: int, seed: int) -> Radiographs:
    images = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 1), np.uint8)
    return Radiographs("x", images, (images > 200).astype(np.uint8), tuple(map(str, range(count))))


@pytest.mark.parametrize("look", "ab")
def test_masks_are_of_what_the_look_says(look):
    images = stored(3, 0).images
    shown = images / np.float32(127.5) - 1  # as networks see them
    there = 1.5 * shown + 0.3
    source, views = there / 2 - 0.11, Views(GRAPHS, look)
    found = views.of_source(MODEL, images)
    np.testing.assert_allclose(found.a_to_b, there, atol=1e-6)
    np.testing.assert_allclose(found.a_to_b_to_a, source, atol=1e-6)
    np.testing.assert_array_equal(found.masks, shown > 0.1)
    np.testing.assert_array_equal(found.cycle_masks, (source if look == "a" else there) > 0.1)
    away = shown / 2 - 0.11
    found = views.of_target(MODEL, images)
    np.testing.assert_allclose(found.b_to_a, away, atol=1e-6)
    np.testing.assert_allclose(found.b_to_a_to_b, 1.5 * away + 0.3, atol=1e-6)
    np.testing.assert_array_equal(found.masks, (away if look == "a" else shown) > 0.1)
    np.testing.assert_array_equal(found.masks, views.target_probability(MODEL, images) > 0.5)


@pytest.mark.parametrize("counts", [(20, 17), (4, 9)])
def test_a_picture_shows_the_first_images_of_both_in_five_rows(counts):
    source, target = stored(counts[0], 1), stored(counts[1], 2)
    picture = Views(GRAPHS, "a").picture(MODEL, source, target)()
    columns = min(SHOWN, *counts)
    assert picture.shape[0] // 5 == picture.shape[1] // columns == 10  # 8 pixels and a gap of 2
    assert Views(GRAPHS, "a").picture(MODEL, source[np.arange(columns)], target)().tolist() == picture.tolist()
