"""Convergence without target labels: what is measured, what counts as failed, and what follows."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cxr_jax import config, convergence, journal, polarity, results, transfer, views
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.datasets import Side
from cxr_jax.networks import build_segmenter
from cxr_jax.plans import Convergence
from cxr_jax.plausibility import Shape
from cxr_jax.training import Trained, TrainingDiverged
from cxr_jax.views import Views
from tests import tiny

LIMITS = Convergence(cycle_error=0.5, balance=(0.02, 1.0), agreement=50.0, sane=50.0, restarts=1)
HEALTHY = {"epoch": 3, "cycle_error": 0.3, "discriminator_a": 0.4, "discriminator_b": 0.5, "agreement": 80, "sane": 90}


def two_lungs(height: int = 20) -> np.ndarray:
    mask = np.zeros((1, 32, 32, 1), np.uint8)
    mask[:, 6 : 6 + height, 4:12] = mask[:, 6 : 6 + height, 20:28] = 1
    return mask


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"cycle_error": 0.6}, "cycle_error 0.60 is above 0.5"),
        ({"cycle_error": float("nan")}, "cycle_error nan is above 0.5"),
        ({"discriminator_a": 0.01, "discriminator_b": 0.01}, "balance 0.010 is outside 0.02 to 1.0"),
        ({"discriminator_a": 4.0}, "balance 2.250 is outside"),
        ({"agreement": 20.0}, "agreement 20.0 is below 50.0"),
        ({"sane": 0.0}, "sane 0.0 is below 50.0"),
    ],
)
def test_every_fault_is_told(change, fault):
    found = convergence.faults(HEALTHY | change, LIMITS, scales=1, supervised=True)
    assert (found == []) if fault is None else (len(found) == 1 and found[0].startswith(fault))
    unsupervised = convergence.faults(HEALTHY | change, LIMITS, scales=1, supervised=False)
    assert bool(unsupervised) == bool({"cycle_error", "discriminator_a"} & set(change))


def test_the_balance_is_that_of_one_scale():
    three = HEALTHY | {"discriminator_a": 1.5, "discriminator_b": 1.6}
    assert convergence.faults(three, LIMITS, scales=3, supervised=True) == []
    assert convergence.faults(three, LIMITS, scales=1, supervised=True)


def test_a_stage_without_its_log_or_its_verdict_is_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"scalars\.jsonl lacks epoch 3, of which there is a checkpoint"):
        convergence.judge(tmp_path, Trained(3, 0.0, None, None), LIMITS, scales=1, supervised=True)
    with pytest.raises(CheckpointError, match="is not finished: give the command with --mode=train"):
        convergence.recorded(tmp_path)


class Pretended(Views):
    """Views that are given."""

    def __init__(self, **views):
        """Take the views by name."""
        vars(self).update(views)


def test_measures_of_a_model_that_changes_nothing_and_of_one_that_loses_everything():
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 1), np.uint8)
    data = Radiographs("x", images, np.repeat(two_lungs(), 5, axis=0), tuple("abcde"))
    lungs = jnp.asarray(two_lungs(), bool)
    shape = Shape.of(data.masks)

    def pretended(back, cycle, target) -> Views:
        def all_of(images, mask):
            return jnp.repeat(mask, len(images), axis=0)

        return Pretended(
            of_source=lambda _, a: views.OfSource(None, back(a), all_of(a, lungs), all_of(a, cycle)),
            of_target=lambda _, b: views.OfTarget(None, back(b), all_of(b, target)),
        )

    unchanged = pretended(lambda images: jnp.asarray(images) / 127.5 - 1, lungs, lungs)
    assert convergence.measure(convergence.see(unchanged, None, data, data), shape)() == {
        "cycle_error": pytest.approx(0.0, abs=1e-6),
        "agreement": 100.0,
        "sane": 100.0,
    }
    grey = pretended(lambda images: jnp.full(images.shape, np.mean(images) / 127.5 - 1), ~lungs, jnp.zeros_like(lungs))
    assert convergence.measure(convergence.see(grey, None, data, data), shape)() == {
        "cycle_error": pytest.approx(1.0, abs=0.02),
        "agreement": 0.0,
        "sane": 0.0,
    }


@pytest.fixture
def transfers(tmp_path):
    """Return three transfers whose trainings are only pretended, and the rows that they will log by folder."""
    images = np.zeros((8, 32, 32, 1), np.uint8)
    data = Radiographs("x", images, np.repeat(two_lungs(), 8, axis=0), tuple("abcdefgh"))
    experiment = tiny.experiment()
    limits = replace(LIMITS, restarts=1)
    experiment = replace(experiment, transfer=replace(experiment.transfer, convergence=limits))
    graph, segmenter = build_segmenter(experiment, jax.random.key(0))
    side = Side(data, data)
    jobs = [
        transfer.Job(replace(experiment, seed=seed), segmenter, side, side, np.zeros(8, bool), tmp_path / str(seed))
        for seed in range(3)
    ]
    return transfer.Transfers(jobs, graph), jobs


def pretend(monkeypatch, rows: dict[str, list]) -> list[list[str]]:
    """Have stages log the given rows in turn, by the name of the workdir; return whom each call trained, and how."""
    calls = []

    def attempt(stage, members):
        calls.append([(member.workdir.name, jax.random.key_data(member.state.key).tolist()) for member in members])
        outcomes = []
        for member in members:
            row = rows[member.workdir.name].pop(0)
            folder = member.workdir / stage.name
            journal.Journal(folder, 0).close()
            if row is None:
                outcomes.append(TrainingDiverged("loss = nan"))
                continue
            (folder / "scalars.jsonl").write_text(json.dumps(row) + "\n")
            outcomes.append(Trained(row["epoch"], 0.0, None, member.state))
        return outcomes

    monkeypatch.setattr(transfer, "attempt", attempt)
    return calls


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("effusion", [0.0, 0.3])
def test_translation_starts_from_negatives_where_polarities_are_opposed(
    transfers, monkeypatch, caplog, negative, effusion
):
    group, (job, *_) = transfers
    monkeypatch.setattr(polarity, "opposed", lambda *_: negative)
    augmentation = replace(job.experiment.augmentation, effusion=effusion)
    state = group._start(job._replace(experiment=replace(job.experiment, augmentation=augmentation)), trial=0)
    assert ("x: bones are dark, but effusions are drawn bright" in caplog.text) == (negative and effusion > 0)
    for translator in (state.translator, state.average["translator"]):
        heads = [translator[domain]["decode"]["head"]["conv"]["kernel"] for domain in "ab"]
        np.testing.assert_array_equal(heads[1], -heads[0] if negative else heads[0])


SICK = HEALTHY | {"cycle_error": 0.9}


def test_only_what_failed_starts_again_from_other_random_numbers(transfers, monkeypatch, tmp_path):
    group, jobs = transfers
    calls = pretend(monkeypatch, {"0": [HEALTHY], "1": [SICK, HEALTHY], "2": [None, SICK]})
    outcomes = group.warm_up()
    assert [[name for name, _ in call] for call in calls] == [["0", "1", "2"], ["1", "2"]]
    assert calls[0][1][1] != calls[1][0][1]
    assert [outcome.epoch for outcome in outcomes] == [3, 3, 3]
    records = [convergence.recorded(job.workdir / "warmup") for job in jobs]
    assert [(record["converged"], record["restarts"]) for record in records] == [(True, 0), (True, 1), (False, 1)]
    assert records[2]["faults"] == ["warmup: cycle_error 0.90 is above 0.5"]
    assert (tmp_path / "1/warmup_failed_0/scalars.jsonl").exists()
    assert not (tmp_path / "0/warmup_failed_0").exists()


def test_a_process_that_comes_back_counts_the_failures_before_it(transfers, monkeypatch, tmp_path):
    group, jobs = transfers
    (tmp_path / "1/warmup_failed_0").mkdir(parents=True)
    calls = pretend(monkeypatch, {"0": [HEALTHY], "1": [SICK], "2": [HEALTHY]})
    group.warm_up()
    assert len(calls) == 1
    assert convergence.recorded(jobs[1].workdir / "warmup")["restarts"] == 1


def test_a_transfer_starts_again_from_its_healthy_warm_up(transfers, monkeypatch):
    group, jobs = transfers
    pretend(monkeypatch, {str(seed): [HEALTHY] for seed in range(3)})
    warm = [outcome.state for outcome in group.warm_up()]
    insane = HEALTHY | {"sane": 0.0}
    calls = pretend(monkeypatch, {"0": [HEALTHY], "1": [insane, HEALTHY], "2": [HEALTHY]})
    again = group.transfer(warm)[1].state
    assert [len(call) for call in calls] == [3, 1]
    assert calls[0][1][1] != calls[1][0][1]
    for one, other in zip(*(jax.tree.leaves(state.translator) for state in (warm[1], again)), strict=True):
        np.testing.assert_array_equal(one, other)
    record = convergence.recorded(jobs[1].workdir / "warmup", jobs[1].workdir / "transfer")
    assert record == {"converged": True, "restarts": 1, "faults": []}


def test_losses_that_are_never_finite_stop_the_run(transfers, monkeypatch):
    group, _ = transfers
    pretend(monkeypatch, {"0": [None, None], "1": [HEALTHY], "2": [HEALTHY]})
    with pytest.raises(TrainingDiverged, match="loss = nan"):
        group.warm_up()


def test_the_summary_says_what_did_not_converge():
    found = {"source": "a", "target": "b", "label_frac": 0.0, "image_size": 32, "seed": 0, "test": {}, "plausible": {}}
    found["config"] = config.to_json(tiny.experiment())
    assert "converge" not in results.screen(found | {"converged": True, "faults": []})
    assert "did not converge: sane 0.0 is below 50.0" in results.screen(
        found | {"converged": False, "faults": ["sane 0.0 is below 50.0"]}
    )
