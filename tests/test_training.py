"""The shared loop: resuming, choosing the epoch, stopping at losses that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import journal, platform
from cxr_jax.training import Stage, TrainingDiverged, train


def iteration(state, data):
    draw = jax.random.normal(jax.random.fold_in(state["key"], state["step"]))
    value = 0.9 * state["value"] + draw * data
    return {**state, "value": value, "step": state["step"] + 1}, {"loss": value**2}


def start() -> dict:
    return {"value": jnp.asarray(1.0), "step": jnp.asarray(0), "key": jax.random.key(0)}


def stage(epochs: int, *, fail_at: int | None = None, score: bool = True) -> Stage:
    def validate(model):
        return {"score": -abs(float(model) - 0.5)} if score else {}

    run = platform.epoch_runner(iteration, 3)

    def run_epoch(state, data):
        state, metrics = run(state, data)
        if fail_at is not None and int(state["step"]) > 3 * (fail_at - 1):
            metrics = {"loss": jnp.nan, "other": 1.0}
        return state, metrics

    return Stage("toy", epochs, run_epoch, jnp.asarray(0.1), lambda state: state["value"], validate, lambda model: {})


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    whole = train(stage(7), start(), tmp_path / "whole", {})
    for epochs in (2, 5, 7):
        parts = train(stage(epochs), start(), tmp_path / "parts", {})
    assert (parts.epoch, parts.score) == (whole.epoch, whole.score)
    assert float(parts.model) == float(whole.model)
    assert float(parts.state["value"]) == float(whole.state["value"])
    logs = [journal.read(tmp_path / name / "toy" / "scalars.jsonl") for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert [row["epoch"] for row in logs[0]] == [1, 2, 3, 4, 5, 6, 7]


def test_a_finished_stage_is_not_run_again(tmp_path):
    first = train(stage(3), start(), tmp_path, {})

    def never(state, data):
        raise AssertionError("trained again")

    again = train(Stage("toy", 3, never, None, lambda s: s["value"], lambda m: {}, lambda m: {}), start(), tmp_path, {})
    assert float(again.model) == float(first.model)


def test_the_best_epoch_is_kept_and_the_last_one_without_a_score(tmp_path):
    trained = train(stage(6), start(), tmp_path / "scored", {})
    rows = journal.read(tmp_path / "scored" / "toy" / "scalars.jsonl")
    assert trained.score == max(row["score"] for row in rows)
    assert trained.epoch == max(rows, key=lambda row: row["score"])["epoch"]
    assert train(stage(6, score=False), start(), tmp_path / "last", {}).epoch == 6


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"stage 'toy', epoch 3: loss = nan\. The last good checkpoint is kept"):
        train(stage(5, fail_at=3), start(), tmp_path, {})
    healthy = train(stage(2), start(), tmp_path, {})
    assert healthy.epoch in (1, 2)
    assert int(healthy.state["step"]) == 6


def test_scanned_and_dispatched_epochs_agree(monkeypatch):
    data = jnp.asarray(0.1)
    dispatched = platform.epoch_runner(iteration, 4)(start(), data)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    scanned = platform.epoch_runner(iteration, 4)(start(), data)
    np.testing.assert_allclose(dispatched[0]["value"], scanned[0]["value"], rtol=1e-6)
    np.testing.assert_allclose(dispatched[1]["loss"], scanned[1]["loss"], rtol=1e-6)


def test_the_log_drops_a_half_written_line_and_later_epochs(tmp_path):
    path = tmp_path / "scalars.jsonl"
    path.write_text('{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.4}\n{"epoch": 3, "lo')
    assert [row["epoch"] for row in journal.read(path)] == [1, 2]
    log = journal.Journal(tmp_path, 1)
    log.scalars(2, {"loss": 0.3})
    log.close()
    assert journal.read(path) == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.3}]
