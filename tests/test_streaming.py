"""A target too large for memory streams: each epoch sees its chunk, also after an interruption."""

import jax
import numpy as np
import pytest

from cxr_jax import (
    checkpoints,
    datasets,
    experiment,
    inference,
    iteration,
    training,
)
from cxr_jax.data import stream
from tests import tiny

HELD = 40  # images of a target of 160 that streams


def streaming(**changes):
    return tiny.experiment(target_in_memory=HELD, transfer__warmup_epochs=2, self_training__epochs=1, **changes)


@pytest.fixture(scope="module")
def streamed(tmp_path_factory, tfds_dir):
    """Return work directory, results and the numbers of the chunks that an uninterrupted run used, in turn."""
    workdir, used = tmp_path_factory.mktemp("run"), []
    at = stream.Chunks.at
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream.Chunks, "at", lambda chunks, index: used.append(index) or at(chunks, index))
        return workdir, experiment.train(streaming(), workdir, tfds_dir, None), used


def test_a_transfer_streams_trains_and_tests(streamed):
    _, results, used = streamed
    assert used == [0, 1, 2, 3]  # two epochs of warm-up, and two of the transfer
    assert results["streamed_images"] == 144
    assert set(results["data"]) == {"phantom/a", "phantom/b", "phantom/b/1.0.0"}
    for part in ("source_only", "before_self_training", "transfer"):
        assert len(results["test"][part]["jaccard"]["per_image"]) == HELD // 5
    assert 0 < results["masks_learned_from"]["own"] <= 24


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_same_images(streamed, tmp_path, tfds_dir, monkeypatch):
    workdir, results, _ = streamed
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    save = checkpoints.Checkpoints.save
    for stage in ("warmup", "transfer"):

        def stop(store, at, *rest, stage=stage):
            save(store, at, *rest)
            store.wait()
            if store._directory.parent.name == stage and at == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoints.Checkpoints, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment.train(streaming(), tmp_path, tfds_dir, None)
    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    again = experiment.train(streaming(), tmp_path, tfds_dir, None)
    assert again["test"] == results["test"]
    for stage in ("warmup", "transfer", "self_training"):
        log = f"{stage}/scalars.jsonl"
        assert (tmp_path / log).read_text() == (workdir / log).read_text()
    models = (inference.restore(path / "transfer").model for path in (tmp_path, workdir))
    for one, other in zip(*map(jax.tree.leaves, models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_epoch_sees_a_chunk_and_no_label(tfds_dir):
    data = datasets.load(streaming(), tfds_dir, None)
    source, target = data.sides()
    assert (source.count, target.count) == (96, 144)
    images = iteration.training_images(source.training, target.training, data.labelled)
    each = iteration.StreamedTrainingImages(images, stream.Chunks(target.stream, 32, seed=0), first=2)
    found = each.of_epoch(1)
    each.close()
    again = stream.Chunks(target.stream, 32, seed=0)
    np.testing.assert_array_equal(found.b, again.at(3))
    again.close()
    assert found.a is images.a
    assert not found.b_masks.any()
    assert not found.b_labelled.any()
