"""Several devices and several processes: the same training, whatever it runs on."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from cxr_jax import checkpoints, devices, inference, journal
from tests import on_devices

MEMBERS = 3
GAME = ("adversarial", "content", "cycle", "discriminator_a", "discriminator_b", "image", "style")
LOSSES = {
    "pretraining": ("segmentation",),
    "warmup": GAME,
    "transfer": (*GAME, "segmentation_a", "segmentation_b"),
}
TOLERANCE = 2e-3  # of losses and weights: sums over shares of a batch are rounded otherwise


@pytest.mark.parametrize(
    ("count", "members", "batch", "shape"),
    [
        (1, 3, 4, (1, 1, 1)),
        (8, 1, 4, (1, 4, 2)),
        (8, 3, 4, (2, 4, 1)),
        (8, 8, 4, (8, 1, 1)),
        (8, 20, 4, (8, 1, 1)),
        (6, 2, 4, (2, 1, 3)),
    ],
)
def test_devices_are_for_members_first_then_for_a_batch(count, members, batch, shape):
    assert devices.arrangement(count, members, batch) == shape


def test_the_others_go_on_when_the_first_process_fails(monkeypatch):
    reached = []
    monkeypatch.setattr(devices, "wait_for_all", reached.append)
    with pytest.raises(OSError, match="no downloads"), devices.primary_first("prepare"):
        raise OSError("no downloads")
    assert reached == ["prepare"]


def start(stage: str, workdir: Path, epochs: int, count: int, *process: object) -> subprocess.Popen:
    """Start the training on `count` virtual devices."""
    words = [sys.executable, "-m", "tests.on_devices", stage, workdir, epochs, MEMBERS, *process]
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    return subprocess.Popen(list(map(str, words)), env=environment, cwd=Path(__file__).parents[1])


def train(workdir: Path, epochs: int, count: int, stage: str = "pretraining") -> Path:
    assert start(stage, workdir, epochs, count).wait(600) == 0
    return workdir


def logs(workdir: Path, stage: str) -> list[list[list[float]]]:
    """Return the losses of each member in each epoch of a stage."""
    tables = [journal.read(workdir / str(seed) / stage / journal.SCALARS) for seed in range(MEMBERS)]
    return [[[row[name] for name in LOSSES[stage]] for row in table] for table in tables]


def models(workdir: Path, stage: str) -> list[Any]:
    """Return each member's model."""
    return [inference.restore(workdir / str(seed) / stage).model for seed in range(MEMBERS)]


def assert_same(one: Path, other: Path) -> None:
    np.testing.assert_allclose(logs(one, "pretraining"), logs(other, "pretraining"), rtol=TOLERANCE)
    for leaf, other_leaf in zip(*(jax.tree.leaves(models(path, "pretraining")) for path in (one, other)), strict=True):
        np.testing.assert_allclose(leaf, other_leaf, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """Return the workdir of two epochs on one device."""
    return train(tmp_path_factory.mktemp("alone"), 2, 1)


def test_eight_devices_train_as_one_does(alone, tmp_path):
    assert_same(alone, train(tmp_path, 2, 8))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "stage"), [(8, "transfer"), (1, "scanned")])
def test_a_transfer_on_eight_devices_and_as_a_gpu_runs_it_is_that_on_one(tmp_path, count, stage):
    one, other = train(tmp_path / "one", 1, 1, "transfer"), train(tmp_path / "other", 1, count, stage)
    for name in ("warmup", "transfer"):
        np.testing.assert_allclose(logs(one, name), logs(other, name), rtol=1e-4)
    after = [models(path, "transfer") for path in (one, other)]
    for model, likewise, start in zip(*after, models(one, "pretraining"), strict=True):
        for part, tolerance in (("segmenter", 5e-5), ("translator", 1e-3)):
            for leaf, other_leaf in zip(*map(jax.tree.leaves, (model[part], likewise[part])), strict=True):
                np.testing.assert_allclose(leaf, other_leaf, rtol=0, atol=tolerance)
        moves = jax.tree.map(lambda leaf, before: np.abs(leaf - before).max(), model["segmenter"], start)
        assert max(jax.tree.leaves(moves)) > 5e-4  # the supervised step did something


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(8, 1), (1, 8)])
def test_a_training_goes_on_and_predicts_on_other_devices(counts, alone, tmp_path):
    for epochs, count in enumerate(counts, 1):
        train(tmp_path, epochs, count)
    assert_same(alone, tmp_path)
    images = on_devices.data().images
    masks = [np.asarray(inference.restore(folder / "0").predict(images)) for folder in (alone, tmp_path)]
    assert (masks[0] != masks[1]).mean() < 0.001


def test_two_processes_train_as_one_does_and_the_first_writes(alone, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    running = [start("pretraining", tmp_path, 2, 2, address, 2, process) for process in range(2)]
    assert [process.wait(300) for process in running] == [0, 0]
    assert_same(alone, tmp_path)
    stage = tmp_path / "0" / "pretraining"
    assert checkpoints.saved_epochs(stage / "checkpoints") == [1, 2]
    assert len(list((stage / "tensorboard").iterdir())) == 1
