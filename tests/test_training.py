"""The shared loop: resuming, choosing the epoch, stopping at losses that are not finite."""

import _thread
import signal
import threading
import time
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import journal, platform, training
from cxr_jax.checkpoints import saved_epochs
from cxr_jax.training import Member, Stage, TrainingDiverged, train


def iteration(state, data):
    draw = jax.random.normal(jax.random.fold_in(state["key"], state["step"]))
    value = 0.9 * state["value"] + draw * data
    return {**state, "value": value, "step": state["step"] + 1}, {"loss": value**2}


def start(seed: int = 0) -> dict:
    return {"value": jnp.asarray(1.0), "step": jnp.asarray(0), "key": jax.random.key(seed)}


STAGE = Stage("toy", 7, 3, iteration, 4)


def stage(epochs: int) -> Stage:
    return replace(STAGE, epochs=epochs)


def failing(at: int) -> Stage:
    """Return a stage whose loss is not a number from epoch `at` on, where the data are positive."""

    def diverges(state, data):
        after, _ = iteration(state, data)
        late = (after["step"] > 3 * (at - 1)) & (data > 0)
        return after, {"loss": jnp.where(late, jnp.nan, 1.0), "other": jnp.asarray(1.0)}

    return replace(STAGE, iteration=diverges)


def member(workdir, *, seed: int = 0, data: float = 0.1, score: bool = True) -> Member:
    def validate(model):
        return lambda: {"score": -abs(float(model) - 0.5)} if score else {}

    return Member(
        start(seed), jnp.asarray(data), workdir, {}, lambda state: state["value"], validate, lambda model: dict
    )


def log(workdir):
    return journal.read(workdir / "toy" / "scalars.jsonl")


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path):
    (whole,) = train(stage(7), [member(tmp_path / "whole")])
    for epochs in (2, 5, 7):
        (parts,) = train(stage(epochs), [member(tmp_path / "parts")])
    assert (parts.epoch, parts.score) == (whole.epoch, whole.score)
    assert float(parts.model) == float(whole.model)
    assert float(parts.state["value"]) == float(whole.state["value"])
    assert log(tmp_path / "whole") == log(tmp_path / "parts")
    assert [row["epoch"] for row in log(tmp_path / "whole")] == [1, 2, 3, 4, 5, 6, 7]


class Tides:
    """Data that are others in each epoch."""

    def __init__(self):
        self.asked, self.closed = [], False

    def of_epoch(self, epoch):
        self.asked.append(epoch)
        return jnp.asarray(0.1 * (epoch + 1))

    def close(self):
        self.closed = True


def test_each_epoch_has_its_own_data_where_these_change(tmp_path):
    tides = [Tides() for _ in range(3)]
    (whole,) = train(stage(4), [replace(member(tmp_path / "whole"), data=tides[0])])
    for epochs, data in zip((1, 4), tides[1:], strict=True):
        (parts,) = train(stage(epochs), [replace(member(tmp_path / "parts"), data=data)])
    assert [data.asked for data in tides] == [[0, 1, 2, 3], [0], [1, 2, 3]]
    assert all(data.closed for data in tides)
    assert float(parts.state["value"]) == float(whole.state["value"])
    (still,) = train(stage(4), [member(tmp_path / "still")])
    assert float(still.state["value"]) != float(whole.state["value"])


def test_an_epoch_is_written_down_while_the_next_one_runs(tmp_path):
    running, writing = ([threading.Event() for _ in range(4)] for _ in range(2))
    met, done = [], []

    class Told(Tides):
        def of_epoch(self, epoch):
            running[epoch].set()
            met.append(writing[epoch - 1].wait(60) if epoch else True)  # each waits for the other, and neither in vain
            done.append(f"run {epoch + 1}")
            return super().of_epoch(epoch)

    def validate(model):
        number = sum(what.startswith("judged") for what in done)
        done.append(f"judged {number + 1}")

        def write():
            writing[number].set()
            met.append(number == 2 or running[number + 1].wait(60))
            return {"score": float(number)}

        return write

    train(stage(3), [replace(member(tmp_path), data=Told(), validate=validate)])
    assert done == [f"{what} {epoch}" for epoch in (1, 2, 3) for what in ("run", "judged")]
    assert met == [True] * 6


def test_short_epochs_leave_the_latest_checkpoint_and_the_best(tmp_path, monkeypatch):
    ended = []
    for every in (0.0, 1e9):
        monkeypatch.setattr(training, "CHECKPOINT_EVERY", every)
        workdir = tmp_path / str(every)
        ended += train(stage(7), [member(workdir)])
        assert saved_epochs(workdir / "toy" / "checkpoints") == sorted(
            {ended[-1].epoch, 7, *([6] if not every else ())}
        )
    assert ended[0].epoch == ended[1].epoch < 7
    assert float(ended[0].model) == float(ended[1].model)


def test_an_epoch_that_is_written_down_is_saved_when_training_is_broken_off(tmp_path):
    class Stopped(Tides):
        def of_epoch(self, epoch):
            if epoch == stop:
                raise KeyboardInterrupt
            return super().of_epoch(epoch)

    stop = None
    (whole,) = train(stage(7), [replace(member(tmp_path / "whole"), data=Stopped())])
    for stop in (2, 3, 6):
        with pytest.raises(KeyboardInterrupt):
            train(stage(7), [replace(member(tmp_path / "parts"), data=Stopped())])
        assert max(saved_epochs(tmp_path / "parts" / "toy" / "checkpoints")) == len(log(tmp_path / "parts")) == stop
    stop = None
    (parts,) = train(stage(7), [replace(member(tmp_path / "parts"), data=Stopped())])
    assert (parts.epoch, float(parts.model)) == (whole.epoch, float(whole.model))
    assert float(parts.state["value"]) == float(whole.state["value"])
    assert log(tmp_path / "parts") == log(tmp_path / "whole")


def test_an_epoch_that_is_being_written_down_is_saved_when_an_interrupt_comes(tmp_path):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupted = []

    def validate(model):
        def write():
            if len(interrupted) == 1:
                _thread.interrupt_main()
                time.sleep(0.5)
            interrupted.append(True)
            return {"score": -abs(float(model) - 0.5)}

        return write

    try:
        with pytest.raises(KeyboardInterrupt):
            train(stage(7), [replace(member(tmp_path / "parts"), validate=validate)])
    finally:
        signal.signal(signal.SIGINT, before)
    assert max(saved_epochs(tmp_path / "parts" / "toy" / "checkpoints")) == len(log(tmp_path / "parts")) == 2
    (whole,), (parts,) = (train(stage(7), [member(tmp_path / name)]) for name in ("whole", "parts"))
    assert float(parts.state["value"]) == float(whole.state["value"])
    assert log(tmp_path / "parts") == log(tmp_path / "whole")


def test_a_finished_stage_is_not_run_again(tmp_path):
    (first,) = train(stage(3), [member(tmp_path)])

    def never(state, data):
        raise AssertionError("trained again")

    (again,) = train(replace(stage(3), iteration=never), [member(tmp_path)])
    assert float(again.model) == float(first.model)


def test_the_best_epoch_is_kept_and_the_last_one_without_a_score(tmp_path):
    (trained,) = train(stage(6), [member(tmp_path / "scored")])
    rows = log(tmp_path / "scored")
    assert trained.score == max(row["score"] for row in rows)
    assert trained.epoch == max(rows, key=lambda row: row["score"])["epoch"]
    assert train(stage(6), [member(tmp_path / "last", score=False)])[0].epoch == 6


def test_a_start_that_counts_is_a_candidate_whenever_training_stops(tmp_path):
    best = member(tmp_path / "best", data=10.0)
    counts = replace(best, state={**best.state, "value": jnp.asarray(0.5)}, start_counts=True)
    for epochs in (2, 3):
        (trained,) = train(stage(epochs), [counts])
        assert (trained.epoch, trained.score, float(trained.model)) == (0, 0.0, 0.5)
    assert [row["epoch"] for row in log(tmp_path / "best")] == [0, 1, 2, 3]
    (trained,) = train(stage(3), [replace(counts, workdir=tmp_path / "other", start_counts=False)])
    assert trained.epoch > 0


def test_a_start_that_counts_is_saved_before_training_begins(tmp_path):
    counts = replace(member(tmp_path), start_counts=True)
    for _ in range(2):  # what a killed process leaves, and what the next one makes of it
        run = training._Run(stage(3), counts)
        run.checkpoints.wait()
        run.journal.close()
    assert saved_epochs(tmp_path / "toy" / "checkpoints") == [0]
    assert [row["epoch"] for row in log(tmp_path)] == [0]


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(TrainingDiverged, match=r"stage 'toy', epoch 3: loss = nan\. The last good checkpoint is kept"):
        train(failing(3), [member(tmp_path)])
    (healthy,) = train(stage(2), [member(tmp_path)])
    assert healthy.epoch in (1, 2)
    assert int(healthy.state["step"]) == 6


def test_members_together_are_what_they_are_alone(tmp_path):
    names = ("one", "two", "three")
    alone = [train(STAGE, [member(tmp_path / "alone" / name, seed=seed)])[0] for seed, name in enumerate(names)]
    train(stage(2), [member(tmp_path / "together" / "two", seed=1)])  # one of them is ahead
    members = [member(tmp_path / "together" / name, seed=seed) for seed, name in enumerate(names)]
    for one, other, name in zip(alone, train(STAGE, members), names, strict=True):
        assert one.epoch == other.epoch
        np.testing.assert_allclose(one.model, other.model, rtol=1e-6)
        np.testing.assert_allclose(one.state["value"], other.state["value"], rtol=1e-6)
        rows = [log(tmp_path / way / name) for way in ("alone", "together")]
        assert [row["epoch"] for row in rows[1]] == [1, 2, 3, 4, 5, 6, 7]
        np.testing.assert_allclose(*([row["loss"] for row in table] for table in rows), rtol=1e-5)
    assert len({float(trained.model) for trained in alone}) == 3


@pytest.mark.parametrize("ahead", [0, 2, 5])
def test_a_member_that_diverges_does_not_hold_the_others_up(tmp_path, ahead):
    members = [member(tmp_path / "sick"), member(tmp_path / "well", data=-0.1)]
    if ahead:
        train(stage(ahead), members[1:])
    with pytest.raises(TrainingDiverged, match=r"epoch 4: loss = nan.*is kept in .*sick"):
        train(failing(4), members)
    assert [len(log(tmp_path / name)) for name in ("sick", "well")] == [3, 7]


def test_a_member_whose_epoch_cannot_be_kept_does_not_cost_the_others_theirs(tmp_path, monkeypatch):
    keep = training._Run.keep

    def full(run, outcome):
        if run.member.workdir.name == "full" and outcome.epoch == 2:
            raise OSError("no space left")
        return keep(run, outcome)

    monkeypatch.setattr(training._Run, "keep", full)
    reached = []
    monkeypatch.setattr(training.devices, "wait_for_all", reached.append)
    with pytest.raises(OSError, match="no space left"):
        train(STAGE, [member(tmp_path / "full"), member(tmp_path / "well")])
    assert [saved_epochs(tmp_path / name / "toy" / "checkpoints")[-1] for name in ("full", "well")] == [1, 2]
    assert reached == []  # of several processes, the one that fails does not wait for the others


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
