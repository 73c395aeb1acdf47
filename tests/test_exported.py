"""Exported models run without this project, and agree with it."""

import dataclasses
import json
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest

from cxr_jax import experiment, exported, inference, segmentation
from cxr_jax.models import SEGMENTERS
from tests import tiny

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


@pytest.mark.parametrize("name", SEGMENTERS)
def test_every_segmenter_can_be_exported_for_any_batch(name):
    plan = dataclasses.replace(tiny.experiment(), segmenter={"name": name, "width": 16})
    graph, model = segmentation.build(plan, jax.random.key(0))
    soften = partial(segmentation.probability(graph), model)
    call = jax.export.deserialize(exported.serialise(inference.Predictor(plan, 0, model, soften, soften))).call
    for count in (1, 3):
        images = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 1), np.uint8)
        np.testing.assert_allclose(call(images), soften(images), atol=1e-5)
