"""Checkpoints: round trip, best and latest, damage, misfit, full disk."""

import shutil
from collections import namedtuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import checkpoints
from cxr_jax.checkpoints import CheckpointError, Checkpoints


def model(value: float) -> dict:
    return {"layers": {0: {"kernel": jnp.full((3, 4), value)}, 1: {"kernel": jnp.full((4,), -value)}}}


def training(value: float) -> dict:
    return {"parameters": model(value), "step": jnp.asarray(int(value)), "key": jax.random.key(int(value))}


@pytest.fixture
def saved(tmp_path):
    """Return a folder with epochs 1 to 5, of which 2 is the best."""
    folder = tmp_path / "checkpoints"
    store = Checkpoints(folder, {"seed": 0})
    for epoch, score in enumerate([10.0, 90.0, 30.0, 40.0, 50.0], start=1):
        store.save(epoch, model(epoch), training(epoch), score)
    store.close()
    return folder


def same(one, other) -> bool:
    one, other = checkpoints.to_host(one), checkpoints.to_host(other)
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def damage(path) -> None:
    """Cut the largest data file below `path` to half."""
    largest = max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def test_best_and_latest_are_kept(saved):
    assert sorted(int(path.name) for path in saved.iterdir() if path.name.isdigit()) == [2, 4, 5]
    store = Checkpoints(saved, {"seed": 0})
    epoch, state = store.resume(training(0))
    assert epoch == 5
    assert same(state, training(5))
    epoch, score, best = store.best(model(0))
    assert (epoch, score) == (2, 90.0)
    assert same(best, model(2))
    store.close()


def test_a_checkpoint_says_what_made_it(saved):
    about = checkpoints.read_about(saved / "2")
    assert {name: about[name] for name in ("seed", "epoch", "score")} == {"seed": 0, "epoch": 2, "score": 90.0}


def test_what_is_being_written_is_no_checkpoint(saved):
    (saved / "6.orbax-checkpoint-tmp").mkdir()
    assert checkpoints.saved_epochs(saved) == [2, 4, 5]
    assert checkpoints.saved_epochs(saved.parent / "nowhere") == []


def test_nothing_saved_starts_from_the_beginning(tmp_path):
    store = Checkpoints(tmp_path, {})
    start = training(7)
    epoch, state = store.resume(start)
    assert epoch == 0
    assert state is start
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        store.best(model(0))


def test_what_is_saved_is_not_changed_by_donating_the_state(tmp_path):
    store = Checkpoints(tmp_path, {})
    state = training(3)
    store.save(1, state["parameters"], state, 0.0)
    jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)(state["parameters"])
    store.wait()
    assert same(store.resume(training(0))[1], training(3))


def test_resuming_falls_back_over_a_damaged_checkpoint(saved):
    damage(saved / "5" / "training")
    store = Checkpoints(saved, {})
    epoch, state = store.resume(training(0))
    assert epoch == 4
    assert same(state, training(4))
    assert checkpoints.saved_epochs(saved) == [2, 4]


def test_where_no_checkpoint_can_be_restored_all_are_kept(saved):
    before = checkpoints.saved_epochs(saved)
    store = Checkpoints(saved, {})
    with pytest.raises(CheckpointError, match=r"5 cannot be restored.*and so are all before it\. They are kept"):
        store.resume({**training(0), "of a later version": jnp.zeros(3)})
    store.close()
    assert checkpoints.saved_epochs(saved) == before
    assert same(Checkpoints(saved, {}).resume(training(0))[1], training(5))


def test_no_more_are_kept_after_an_interruption(saved):
    store = Checkpoints(saved, {})
    for epoch in (6, 7, 8):
        store.save(epoch, model(epoch), training(epoch), 20.0)
    store.close()
    assert checkpoints.saved_epochs(saved) == [2, 7, 8]


def test_a_cut_off_model_is_an_error(saved):
    damage(saved / "2" / "model")
    with pytest.raises(CheckpointError, match="cannot be restored: it is damaged or of another architecture"):
        checkpoints.restore_model(saved / "2", model(0))


def test_changed_bits_are_found(saved, monkeypatch):
    about = checkpoints.read_about(saved / "2")
    monkeypatch.setattr(checkpoints, "read_about", lambda path: about | {"model": "00000000"})
    with pytest.raises(CheckpointError, match="the checksum of its model does not fit"):
        checkpoints.restore_model(saved / "2", model(0))


def test_another_architecture_is_an_error(saved):
    with pytest.raises(CheckpointError, match="of another architecture"):
        checkpoints.restore_model(saved / "2", {"layers": {0: {"kernel": jnp.zeros((3, 5))}}})


def test_a_missing_checkpoint_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="missing or damaged"):
        checkpoints.read_about(tmp_path / "7")


def test_a_full_disk_is_an_error_that_leaves_the_checkpoints_before(saved, monkeypatch):
    store = Checkpoints(saved, {})
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 1000))
    with pytest.raises(CheckpointError, match=r"could not be written.*free some space"):
        store.save(6, model(6), training(6), 1.0)
    store.close()
    assert same(Checkpoints(saved, {}).resume(training(0))[1], training(5))
