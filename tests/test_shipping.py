"""Models that leave their work directory: exported ones run without this project, shipped ones are small."""

import dataclasses
import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from cxr_jax import compact, experiment, exported, inference, segmentation, ship
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.models import SEGMENTERS
from tests import tiny

ROOT = Path(__file__).parent.parent

FRESH = """
import sys
from pathlib import Path
import jax, numpy
call = jax.export.deserialize(Path(sys.argv[1]).read_bytes()).call
numpy.save(sys.argv[3], call(numpy.load(sys.argv[2])))
assert not {name.partition(".")[0] for name in sys.modules} & {"cxr_jax", "flax", "orbax"}
"""


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, tfds_dir):
    folder = tmp_path_factory.mktemp("run")
    experiment.train(
        tiny.experiment(pretraining__epochs=1, transfer__epochs=1, self_training__epochs=0), folder, tfds_dir, None
    )
    return folder


@pytest.mark.parametrize("stage", ["pretraining", "transfer"])
def test_a_fresh_process_without_this_project_runs_it(workdir, tmp_path, stage):
    path = exported.write(workdir / stage, tmp_path / "out")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    np.save(tmp_path / "images.npy", images)
    words = [sys.executable, "-c", FRESH, path, tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=300)
    expected = inference.restore(workdir / stage).soften(images)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-5)
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["organ"], about["input"]["shape"]) == ("lungs", ["b", 32, 32, 1])
    assert len(about["preparation"]) == 3


def test_nothing_is_overwritten_unless_told(workdir, tmp_path):
    exported.write(workdir / "pretraining", tmp_path)
    with pytest.raises(exported.ExportError, match="is there already"):
        exported.write(workdir / "pretraining", tmp_path)
    exported.write(workdir / "pretraining", tmp_path, overwrite=True)


@pytest.mark.parametrize(
    "name", ["segnet", *(pytest.param(n, marks=pytest.mark.slow) for n in SEGMENTERS if n != "segnet")]
)
def test_every_segmenter_can_be_exported_for_any_batch(name):
    plan = dataclasses.replace(tiny.experiment(), segmenter={"name": name, "width": 16})
    graph, model = segmentation.build(plan, jax.random.key(0))
    soften = partial(segmentation.probability(graph), model)
    call = jax.export.deserialize(exported.serialise(inference.Predictor(plan, 0, model, soften, soften))).call
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 1), np.uint8)
        np.testing.assert_allclose(call(images), soften(images), atol=1e-5)


@pytest.fixture
def found(workdir, monkeypatch):
    """Return the run's model, as if it read images as they are, which the files that are shipped must do."""
    restore, model = inference.restore, inference.restore(workdir)
    looks = {"supervised_looks": {"a": 1.0, "b": 1.0}, "target_look": "b"}
    look_b = dataclasses.replace(model.experiment.transfer, **looks)
    model = dataclasses.replace(model, experiment=dataclasses.replace(model.experiment, transfer=look_b))
    monkeypatch.setattr(inference, "restore", lambda path: model if path == workdir else restore(path))
    return model


def test_a_shipped_model_is_that_of_its_run_in_less_than_half_of_the_bytes(workdir, found, tmp_path):
    path = ship.segmenter(workdir, tmp_path)
    assert path.name == "lungs.npz"
    assert ship.shipped(tmp_path) == [path]
    shipped, segmenter = inference.restore(path), found.model["segmenter"]
    for before, after in zip(jax.tree.leaves(segmenter), jax.tree.leaves(shipped.model), strict=True):
        largest = np.abs(before).max(axis=tuple(range(before.ndim - 1)))  # of each output channel
        assert (np.abs(np.asarray(after) - before) <= largest / 254 + 1e-6).all()
        assert after.dtype == before.dtype
    # A quarter, but for the names of arrays, which count where these are so small.
    assert path.stat().st_size < 0.45 * sum(leaf.nbytes for leaf in jax.tree.leaves(segmenter))
    graph, _ = segmentation.build(found.experiment, None)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 1), np.uint8)
    expected = segmentation.probability(graph)(segmenter, images)
    np.testing.assert_allclose(shipped.soften(images), expected, atol=0.02)


def test_a_shipped_translator_translates_as_that_of_its_run(workdir, tmp_path):
    path = ship.translator(workdir, tmp_path)
    images = jax.random.uniform(jax.random.key(0), (2, 32, 32, 1), minval=-1, maxval=1)
    original, shipped = inference.restore_translator(workdir), inference.restore_translator(path)
    reference = original.reference(images, images)
    np.testing.assert_allclose(shipped.to_b(images, reference), original.to_b(images, reference), atol=0.05)
    with pytest.raises(CheckpointError, match="holds a translator: expected a model that draws masks"):
        inference.restore(path)


def test_what_is_shipped_is_measured_as_it_lies_there(workdir, found, tmp_path, tfds_dir):
    rows = ship.measure(ship.segmenter(workdir, tmp_path), tfds_dir, None)
    assert [(row["dataset"], row["images"]) for row in rows] == [("phantom/a", 32), ("phantom/b", 32)]
    assert all(0 <= row["jaccard"]["mean"] <= 100 and 0 <= row["plausible"] <= 32 for row in rows)
    assert rows[0]["trained"]["commit"]


def test_a_segmenter_of_translated_images_is_not_shipped(workdir, tmp_path):
    with pytest.raises(ship.ShipError, match="expected a model that reads images as they are"):
        ship.segmenter(workdir, tmp_path)


def test_the_weights_that_ship_are_small_and_draw_masks_of_an_images_own_size():
    files = ship.shipped()
    assert {row["file"] for row in json.loads((ROOT / "docs/results" / ship.FILE).read_text())} == {
        path.name for path in files
    }
    assert sum(path.stat().st_size for path in ship.WEIGHTS.iterdir()) < 10e6
    image = np.random.default_rng(0).integers(0, 4096, (150, 130)).astype(np.uint16)
    for path in files:
        model = inference.restore(path)
        assert model.experiment.task == path.stem
        assert model(image, tidy=True).shape == image.shape


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_or_foreign_file_is_refused(tmp_path, content):
    path = tmp_path / "lungs.npz"
    if content is None:
        np.savez(path, about=np.array([{"an": "object"}], dtype=object))  # needs a pickle, which may hold code
    else:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is missing or damaged"):
        inference.restore(path)


def test_a_model_of_another_architecture_is_refused(tmp_path):
    path = tmp_path / "lungs.npz"
    compact.write(path, {"a": np.ones(3, np.float32)}, {})
    for like in ({"b": np.ones(3, np.float32)}, {"a": np.ones(4, np.float32)}):
        with pytest.raises(CheckpointError, match="another architecture"):
            compact.restore_model(path, like)
