"""What a finished run leaves is restored, told by its checkpoint, and segments images of any kind."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from cxr_jax import (
    checkpoints,
    config,
    datasets,
    exported,
    inference,
    tta,
)
from cxr_jax.data import prepared
from cxr_jax.data.look import Look
from tests import hospitals, tiny
from tfds_builders import squares

ROOT = Path(__file__).parent.parent


def ones(images: np.ndarray) -> np.ndarray:
    return np.ones(images.shape, np.float32)


def test_restored_predictor_segments_an_image_of_any_size(finished, tfds_dir):
    workdir, results = finished
    predictor = inference.restore(workdir)
    assert predictor.epoch == results["epochs"]["transfer"] == 2
    assert inference.restore(workdir / "transfer").epoch == results["epochs"]["before_self_training"]
    image = prepared.load("phantom/b", "lungs", Look(128), tfds_dir).images[0, ..., 0]
    framed = np.pad(image, ((10, 20), (30, 0))).astype(np.uint16) * 16
    mask = predictor(framed)
    assert mask.shape == framed.shape
    assert mask.dtype == bool
    assert not mask[:10].any()
    with pytest.raises(ValueError, match=r"expected one grey image"):
        predictor(np.zeros((4, 4, 3)))
    noise = np.random.default_rng(0)
    rough = dataclasses.replace(predictor, soften=lambda images: noise.random(images.shape, np.float32) / 1.25)
    assert ndimage.label(rough(framed, tidy=True))[1] <= 2 < ndimage.label(rough(framed))[1]
    bright = dataclasses.replace(predictor, soften=lambda images: (images > 127).astype(np.float32))
    dark = dataclasses.replace(bright, experiment=tiny.experiment(negated=("phantom/b",)))
    assert not (bright(framed) & dark(framed)).any()
    assert (bright(framed) | dark(framed)).mean() > 0.5
    whole = dataclasses.replace(predictor, experiment=tiny.experiment(trim=False), soften=ones)(framed)
    assert whole.all()  # where images are not trimmed, their frames are segmented too
    equalised = dataclasses.replace(bright, experiment=tiny.experiment(tones="equalised"))
    assert 0.4 < equalised(image).mean() < 0.6
    truth = prepared.load("phantom/b", "lungs", Look(32), tfds_dir).masks[:1].astype(np.float32)
    told = [dataclasses.replace(predictor, soften=lambda _, soft=soft: soft) for soft in (truth, np.ones_like(truth))]
    assert [next(one.find([image], batch=1)).plausible for one in told] == [True, False]
    assert next(dataclasses.replace(predictor, shape=None).find([image])).plausible is None  # an older model
    segmenter = inference.restore(workdir / "pretraining")
    expected = datasets.load(tiny.experiment(), tfds_dir, None).shape()
    for model in (predictor, segmenter, inference.restore(workdir / "transfer")):
        assert model.shape.plain() == expected.plain()
    assert segmenter.predict(np.zeros((1, 32, 32, 1), np.uint8)).shape == (1, 32, 32, 1)


@pytest.mark.parametrize("tones", ["stretched", "equalised"])
@pytest.mark.parametrize(
    "shown",
    [
        lambda image: image,
        lambda image: image - 1000,  # Hounsfield units
        lambda image: np.maximum(image, 30 * np.random.default_rng(0).random(image.shape)),  # noise in the black frame
        lambda image: np.where(np.indices(image.shape).sum(axis=0) == 0, 4095, image),  # a bright pixel in a corner
    ],
    ids=["as it is", "below zero", "noisy frame", "bright corner"],
)
def test_prediction_prepares_images_as_a_folder_of_them_is_prepared(finished, tfds_dir, tmp_path, shown, tones):
    small = prepared.load("phantom/b", "lungs", Look(64), tfds_dir).images[0, ..., 0]
    image = shown(np.pad(np.kron(small, np.ones((9, 10))) * 4, ((90, 30), (70, 60))))
    look = tiny.experiment(tones=tones).look("phantom/b")
    stored = squares.stored_square(image)
    seen = []
    whole = dataclasses.replace(
        inference.restore(finished[0]),
        experiment=tiny.experiment(tones=tones),
        soften=lambda images: seen.append(images) or ones(images),
    )
    mask = whole(image)
    np.testing.assert_array_equal(seen[0][0], look(stored))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    frame = look.frame(stored)
    for found, part, side in zip((rows, columns), frame, image.shape, strict=True):
        start, stop, _ = part.indices(len(stored))
        assert abs(found[0] - start * side / len(stored)) <= 1
        assert abs(found[-1] + 1 - stop * side / len(stored)) <= 1


def test_a_model_of_a_folder_sees_an_image_as_it_learned_from_it(finished, tfds_dir, tmp_path):
    drawn = np.random.default_rng(0).integers(0, 255, (6, 700, 650), np.uint8)  # larger than what is stored
    drawn[:, :40] = 0
    for number, image in enumerate(drawn):
        hospitals.save(tmp_path / f"images/{number}.png", image)
    loaded = prepared.load("radiograph_folder", "lungs", Look(32), tfds_dir, folder=str(tmp_path))
    seen = []
    model = dataclasses.replace(
        inference.restore(finished[0]),
        experiment=tiny.of_folder(tmp_path),
        soften=lambda images: seen.append(images) or ones(images),
    )
    assert len(list(model.masks(drawn, batch=len(drawn)))) == len(drawn)
    np.testing.assert_array_equal(seen[0], loaded.images)
    assert exported.describe(model)["preparation"][0].startswith("resize the image to 512x512")


@pytest.mark.parametrize("modules", ["inference, reading", "commands"])  # the second: `--mode=predict` and `export`
def test_reading_and_predicting_need_nothing_of_training(modules):
    program = f"""import sys; from cxr_jax import {modules}
print(*{{"tensorflow_datasets", "array_record", "grain", "tensorboardX", "matplotlib"}} & set(sys.modules))"""
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not run.stdout.split()


def test_an_empty_image_is_refused(finished):
    with pytest.raises(ValueError, match="found an empty one"):
        inference.restore(finished[0])(np.zeros((0, 5)))


@pytest.mark.parametrize("stage", ["pretraining", "transfer"])
def test_a_model_is_restored_with_the_views_that_its_config_asks_for(finished, monkeypatch, stage):
    folder = finished[0] / stage
    once, parse = inference.restore(folder), config.parse
    monkeypatch.setattr(config, "parse", lambda plain: dataclasses.replace(parse(plain), test_time_augmentation=True))
    model = inference.restore(folder)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    expected = tta.averaged(lambda _, shown: once.soften(shown))(None, images)
    np.testing.assert_allclose(model.soften(images), expected, atol=1e-5)
    np.testing.assert_array_equal(model.predict(images), np.asarray(model.soften(images)) > 0.5)
    assert np.abs(model.soften(images) - once.soften(images)).max() > 0.01


def test_many_radiographs_have_the_probabilities_of_each():
    together = []

    def soften(images):
        together.append(len(images))
        return images / np.float32(255)

    model = inference.Predictor(tiny.experiment(), "pretraining", 0, None, soften)
    images = [np.random.default_rng(rows).random((rows, 50)) for rows in range(40, 45)]
    found = list(model.probabilities(images, batch=2))
    assert together == [2, 2, 2]
    for image, probability in zip(images, found, strict=True):
        assert probability.shape == image.shape
        np.testing.assert_array_equal(probability, model.probability(image))


def test_a_stage_is_told_by_its_checkpoint(finished, tmp_path, monkeypatch):
    workdir, results = finished
    shutil.copytree(workdir / "transfer", tmp_path / "mymodel")
    for folder in (tmp_path, workdir / "transfer"):
        monkeypatch.chdir(folder)
        path = "mymodel" if folder == tmp_path else "."
        assert inference.restore(path).epoch == results["epochs"]["before_self_training"]


def test_a_workdir_without_its_last_stage_is_named(finished, tmp_path, caplog):
    workdir, _ = finished
    for stage in ("pretraining", "transfer"):
        shutil.copytree(workdir / stage, tmp_path / stage)
        found = inference.restore(tmp_path)
        assert (found.stage, found.learned_from) == (stage, ("phantom/a", "phantom/b")[: 1 + (stage == "transfer")])
        assert f"has no model of its last stage, self_training, yet: this is that of {stage}" in caplog.text
        caplog.clear()
        inference.restore(tmp_path / stage)
        inference.restore_translator(workdir)
        assert not caplog.text
    inference.restore(workdir)
    assert not caplog.text


def test_an_older_checkpoint_is_of_the_stage_that_its_folder_is_named_after(finished, tmp_path, monkeypatch):
    workdir, results = finished
    shutil.copytree(workdir / "transfer", tmp_path / "mymodel")
    read = checkpoints.read_about
    monkeypatch.setattr(checkpoints, "read_about", lambda path: {k: v for k, v in read(path).items() if k != "stage"})
    monkeypatch.chdir(workdir / "transfer")
    assert inference.restore(".").epoch == results["epochs"]["before_self_training"]
    with pytest.raises(checkpoints.CheckpointError, match=r"holds a model of 'mymodel': .* under its own name"):
        inference.restore(tmp_path / "mymodel")


@pytest.mark.parametrize(
    ("restore", "stage", "expected"),
    [
        (inference.restore, "warmup", "self_training, transfer, adaptation, pretraining"),
        (inference.restore_translator, "pretraining", "transfer"),
    ],
)
def test_a_stage_without_the_model_that_is_asked_for_is_refused(finished, restore, stage, expected):
    with pytest.raises(checkpoints.CheckpointError, match=f"holds a model of '{stage}': expected one of {expected};"):
        restore(finished[0] / stage)


def test_a_model_that_is_not_yet_the_outcome_says_so(finished, tmp_path, caplog):
    shutil.copytree(finished[0] / "self_training", tmp_path / "self_training")
    inference.restore(tmp_path)
    assert "epoch" not in caplog.text
    shutil.rmtree(tmp_path / "self_training" / "checkpoints" / "2")
    assert inference.restore(tmp_path).epoch == 1
    assert "self_training has come to epoch 1 of 2: this is not its outcome yet" in caplog.text
