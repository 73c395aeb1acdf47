"""Radiographs whose bones are dark, told by a model that is surer of their negatives."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_jax import compact, inference, negatives, prediction
from tests import tiny

EXAMPLE = Path(__file__).parent.parent / "docs" / "example.png"


@pytest.fixture
def counted():
    """Return a model that is sure of dark images and of no others, and the list of how many it has looked at."""
    looked_at = []

    def soften(images):
        looked_at.append(len(images))
        shown = images / np.float32(255)
        return np.where(shown.mean(axis=(1, 2, 3), keepdims=True) < 0.5, shown, 0.3 + 0.4 * shown)

    return inference.Predictor(tiny.experiment(), "pretraining", 0, None, soften), looked_at


def corners(inside: int, outside: int, dtype: type) -> np.ndarray:
    """Return an image of which two corners, a quarter of its pixels, differ from the rest."""
    image = np.full((40, 50), outside, dtype)
    image[:10, :25] = image[-10:, -25:] = inside
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_only_images_of_which_the_model_is_unsure_are_looked_at_as_negatives(counted, dtype):
    model, looked_at = counted
    images = [corners(*tones, dtype) for tones in ((200, 0), (0, 200), (100, 0), (20, 100))]
    found = list(model.find(images, batch=4))
    assert negatives.found_in(model, images, found, tidy=False, batch=2).tolist() == [False, True, False, True]
    assert looked_at == [4, 2]
    sure = [found[0], found[2]]
    assert negatives.found_in(model, images[::2], sure, tidy=False, batch=2).tolist() == [False, False]
    assert looked_at == [4, 2]


def test_a_model_that_is_hardly_surer_of_the_negative_says_nothing():
    def soften(images):
        dark = images.mean(axis=(1, 2, 3), keepdims=True) < 128
        upper = np.arange(images.shape[1])[:, None, None] < 10
        return np.where(upper, 0.8, 0.2) + np.where(upper, 0.01, -0.01) * dark * np.ones(images.shape, np.float32)

    model = inference.Predictor(tiny.experiment(), "pretraining", 0, None, soften)
    image = corners(0, 200, np.uint8)
    ((_, before), (_, after)) = model.find([image, 200 - image], batch=2)
    assert 0 < after - before < negatives.MARGIN
    assert not negatives.found_in(model, [image], list(model.find([image], batch=1)), tidy=False, batch=1).any()


def test_predicting_names_negatives_by_the_weights_that_ship(tmp_path, caplog):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    image = np.asarray(Image.open(EXAMPLE).convert("L"))
    Image.fromarray(image).save(source / "as_it_is.png")
    Image.fromarray(255 - image).save(source / "negative.png")
    assert prediction.predict(compact.shipped()[:1], source, output) == 0
    with (output / prediction.TABLE).open() as file:
        told = {row["file"]: row["seems_negative"] for row in csv.DictReader(file)}
    assert told == {"as_it_is.png": "no", "negative.png": "yes"}
    assert "1 of 2 radiographs seem to be negatives, the first negative.png" in caplog.text
