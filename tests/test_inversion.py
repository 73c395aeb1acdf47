"""Radiographs whose bones are dark, told by a model that is surer of their negatives."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_jax import compact, inference, inversion, prediction
from tests import tiny

EXAMPLE = Path(__file__).parent.parent / "docs" / "example.png"


def predictor(soften) -> inference.Predictor:
    return inference.Predictor(tiny.experiment(), "pretraining", 0, None, soften)


@pytest.fixture
def counted():
    """Return a model that is sure of dark images and of no others, and the list of how many it has looked at."""
    looked_at = []

    def soften(images):
        looked_at.append(len(images))
        shown = images / np.float32(255)
        return np.where(shown.mean(axis=(1, 2, 3), keepdims=True) < 0.5, shown, 0.3 + 0.4 * shown)

    return predictor(soften), looked_at


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
    assert inversion.inverted(model, images, found, tidy=False, batch=2).tolist() == [False, True, False, True]
    assert looked_at == [4, 2]
    sure = [found[0], found[2]]
    assert inversion.inverted(model, images[::2], sure, tidy=False, batch=2).tolist() == [False, False]
    assert looked_at == [4, 2]


@pytest.mark.parametrize("frame", [0, 200], ids=["black", "white"])
def test_a_frame_around_an_inverted_image_does_not_hide_it(counted, frame):
    model, _ = counted
    framed = np.pad(corners(0, 200, np.uint8), 12, constant_values=frame)
    found = list(model.find([framed], batch=1))
    assert inversion.inverted(model, [framed], found, tidy=False, batch=1).all()


@pytest.mark.parametrize(
    ("image", "negative", "told"),
    [(0.8, 0.95, True), (0.8, 0.84, False), (0.5, 0.75, False), (0.0, 0.3, False), (0.92, 0.99, False)],
)
def test_the_negative_has_to_be_good_and_better(image, negative, told):
    def soften(images):  # a half of the image, found with this certainty: which is the Jaccard to be expected
        dark = images.mean(axis=(1, 2, 3), keepdims=True) < 128
        upper = np.arange(images.shape[1])[:, None, None] < images.shape[1] // 2
        return (np.where(dark, negative, image) * upper * np.ones(images.shape)).astype(np.float32)

    model = predictor(soften)
    found = list(model.find([corners(0, 200, np.uint8)], batch=1))
    assert found[0].expected_jaccard == pytest.approx(100 * image if image > 0.5 else 0.0, abs=0.1)
    assert inversion.inverted(model, [corners(0, 200, np.uint8)], found, tidy=False, batch=1).tolist() == [told]


def test_predicting_names_inverted_radiographs_by_the_weights_that_ship(tmp_path, caplog):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    image = np.asarray(Image.open(EXAMPLE).convert("L"))
    Image.fromarray(image).save(source / "as_it_is.png")
    Image.fromarray(255 - image).save(source / "negative.png")
    (source / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")

    def told() -> dict[str, str]:
        with (output / prediction.TABLE).open() as file:
            return {row["file"]: row["seems_inverted"] for row in csv.DictReader(file)}

    lungs = compact.shipped()[:1]
    for resume in (False, True):
        caplog.clear()
        assert prediction.predict(lungs, source, output, resume=resume) == 1
        assert told() == {"as_it_is.png": "no", "negative.png": "yes", "broken.png": ""}
        assert "1 of 2 radiographs seem inverted, the first negative.png" in caplog.text
    heart = compact.shipped()[1:2]
    assert prediction.predict(heart, source, output, overwrite=True) == 1
    assert set(told().values()) == {""}
