"""Whole runs at the smallest size: results, resuming, evaluating again, and what is refused."""

import dataclasses
import json
import shutil
import subprocess
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from cxr_jax import (
    checkpoints,
    config,
    datasets,
    experiment,
    exported,
    inference,
    iteration,
    provenance,
    runs,
    segmentation,
    ship,
    training,
    transfer,
)
from cxr_jax import results as results_module
from cxr_jax.data import prepared, radiographs, splits
from cxr_jax.data.look import Look
from cxr_jax.networks import build_segmenter
from tests import on_devices, tiny


def copied(finished, folder) -> tuple:
    """Return a copy of the finished run, to write in, and its results."""
    workdir, results = finished
    return shutil.copytree(workdir, folder / "run"), results


def test_results_name_what_made_them(finished):
    workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == json.loads(json.dumps(results))
    for name in ("command", "config", "seed", "commit", "device", "versions", "source", "target", "data"):
        assert results[name] not in (None, "", {}), name
    assert (results["label_frac"], results["image_size"], results["labelled_images"]) == (0.0, 32, 0)
    for part in ("source", "source_only", "before_self_training", "transfer"):
        for metric in ("jaccard", "dice", "jaccard_tidied", "dice_tidied"):
            values = list(results["test"][part][metric]["per_image"].values())
            assert len(values) == 32
            assert results["test"][part][metric]["mean"] == pytest.approx(np.mean(values))
            assert results["test"][part][metric]["std"] == pytest.approx(np.std(values, ddof=1))
    tested = results["test"]["transfer"]["jaccard"]["per_image"]
    assert results["expected_jaccard"]["transfer"]["per_image"].keys() == tested.keys()
    assert all(name.startswith("phantom_b") for name in tested)
    assert "transfer" in results_module.screen(results)


def test_results_say_what_translation_started_from_and_what_taught_in_self_training(finished):
    workdir, results = finished
    assert results["polarity"] == json.loads((workdir / "polarity.json").read_text())
    assert results["masks_learned_from"]["labels"] == 0
    assert 0 < results["masks_learned_from"]["own"] <= 96


def test_labels_that_are_known(tfds_dir):
    for share, some in ((0.0, False), (0.1, True)):
        data = datasets.load(tiny.experiment(label_frac=share), tfds_dir, None)
        known, split = data.known(), data.target_split
        np.testing.assert_array_equal(known[split.train], data.labelled)
        assert known[split.validation].all() == known[split.validation].any() == some
        assert not known[split.test].any()


def test_a_run_without_self_training_is_what_it_was_before_there_was_any():
    stored = config.to_json(tiny.experiment(self_training__epochs=0))
    older = {name: value for name, value in stored.items() if name != "self_training"}
    assert config.differences(older, stored) == []
    assert config.parse(older) == config.parse(stored)


def test_the_report_shows_every_stage_and_every_test_image(finished):
    workdir, results = finished
    page = (workdir / "report.html").read_text()
    for stage in ("pretraining", "warmup", "transfer", "self training"):
        assert f"Training: {stage}<" in page
    for name, test in results["test"].items():
        assert f"Test images: {results_module.TITLES[name]}<" in page
        for image, score in test["jaccard"]["per_image"].items():
            assert f"{image}: {score:.2f}" in page
    assert 'alt="translation"' in page


def test_everything_a_person_looks_at_is_there(finished):
    workdir, _ = finished
    for name in ("source", "source_only", "before_self_training", "transfer"):
        assert (workdir / "overlays" / f"{name}.png").stat().st_size > 1000
    for stage in ("pretraining", "warmup", "self_training", "transfer"):
        assert list((workdir / stage / "tensorboard").iterdir())
        rows = [json.loads(line) for line in (workdir / stage / "scalars.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == list(range(1, len(rows) + 1))
    assert {"segmentation_a", "cycle", "adversarial", "discriminator_a", "score"} <= set(rows[-1])


def test_an_interrupted_run_ends_as_an_uninterrupted_one(finished, tmp_path, tfds_dir, monkeypatch):
    workdir, results = finished
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0.0)
    save = checkpoints.Checkpoints.save
    for stage in ("pretraining", "warmup", "transfer", "self_training"):  # of which the warm-up ends there

        def stop(store, epoch, *rest, stage=stage):
            save(store, epoch, *rest)
            store.wait()
            if store._directory.parent.name == stage and epoch == 1:
                raise KeyboardInterrupt

        monkeypatch.setattr(checkpoints.Checkpoints, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            experiment.train(tiny.experiment(), tmp_path, tfds_dir, None)
    monkeypatch.setattr(checkpoints.Checkpoints, "save", save)
    again = experiment.train(tiny.experiment(), tmp_path, tfds_dir, None)
    assert again["test"] == results["test"]
    for stage in ("pretraining", "warmup", "transfer", "self_training"):
        log = f"{stage}/scalars.jsonl"
        assert (tmp_path / log).read_text() == (workdir / log).read_text()


def test_evaluate_gives_the_same_figures_and_trains_nothing(finished, tmp_path, tfds_dir, monkeypatch):
    workdir, results = copied(finished, tmp_path)
    monkeypatch.setattr(segmentation, "train", None)
    monkeypatch.setattr(transfer, "attempt", None)
    again = experiment.evaluate(tiny.experiment(), workdir, tfds_dir, None)
    assert again["test"] == results["test"]


def test_results_name_what_trained_a_model_not_what_tested_it_last(finished, tmp_path, tfds_dir, monkeypatch):
    workdir, results = copied(finished, tmp_path)
    later = provenance.here() | {"command": "python later.py", "commit": "0" * 40}
    monkeypatch.setattr(provenance, "here", lambda: later)
    for again in (experiment.evaluate, experiment.train):
        found = again(tiny.experiment(), workdir, tfds_dir, None)
        assert found["tested"] == later
        assert {**found, "tested": results["tested"]} == results
    assert set(results["trained"]) == set(results["plausible"])
    for made in (results, *results["trained"].values()):
        assert {name: made[name] for name in later} == results["tested"]
    restore = inference.restore
    monkeypatch.setattr(inference, "restore", lambda path: dataclasses.replace(restore(path), made={}))  # an older one
    found = experiment.evaluate(tiny.experiment(), workdir, tfds_dir, None)
    assert {**found, "tested": results["tested"], "trained": results["trained"]} == results


def test_label_free_training_never_reads_a_target_mask(finished, tmp_path, tfds_dir, monkeypatch):
    _, results = finished
    load = prepared.load

    def scrambled(name, *arguments, **options):
        data = load(name, *arguments, **options)
        if name != "phantom/b":
            return data
        return radiographs.Radiographs(data.name, data.images, 1 - data.masks, data.ids)

    monkeypatch.setattr(prepared, "load", scrambled)
    other = experiment.train(tiny.experiment(), tmp_path, tfds_dir, None)
    assert other["epochs"] == results["epochs"]
    assert other["test"]["source"] == results["test"]["source"]
    model, twin = (inference.restore(path).model for path in (tmp_path, finished[0]))
    for one, two in zip(jax.tree.leaves(model), jax.tree.leaves(twin), strict=True):
        np.testing.assert_array_equal(one, two)
    stages = ("warmup", "transfer", "self_training")
    for file in (*(f"{stage}/scalars.jsonl" for stage in stages), "transfer/convergence.json"):
        assert (tmp_path / file).read_text() == (finished[0] / file).read_text()


@pytest.mark.slow
def test_a_transfer_that_does_not_converge_starts_again_and_is_marked(tmp_path, tfds_dir):
    limits = config.to_json(tiny.experiment())["transfer"]["convergence"] | {"cycle_error": 0.0, "restarts": 1}
    hopeless = tiny.experiment(transfer__convergence=limits)
    results = experiment.train(hopeless, tmp_path, tfds_dir, None)
    assert (results["converged"], results["restarts"]) == (False, 2)
    assert all("is above 0.0" in fault for fault in results["faults"][:1])
    for stage in ("warmup", "transfer"):
        first, last = ((tmp_path / name / "scalars.jsonl").read_text() for name in (f"{stage}_failed_0", stage))
        assert first != last
        assert len(first.splitlines()) == len(last.splitlines())
    assert experiment.train(hopeless, tmp_path, tfds_dir, None)["test"] == results["test"]
    assert "did not converge" in results_module.screen(results)


def test_pools_hold_no_mask_of_an_unlabelled_image(tfds_dir):
    data = prepared.load("phantom/b", "lungs", Look(32), tfds_dir)[np.arange(4)]
    images = iteration.training_images(data, data, np.array([True, False, False, True]))
    assert [bool(mask.any()) for mask in images.b_masks] == [True, False, False, True]


def test_a_target_without_labels_is_qualitative_and_has_no_labelled_share(tmp_path, tfds_dir, monkeypatch):
    load = prepared.load

    def unlabelled(name, *arguments, **options):
        data = load(name, *arguments, **options)
        masks = None if name == "phantom/b" else data.masks
        return radiographs.Radiographs(data.name, data.images, masks, data.ids)

    monkeypatch.setattr(prepared, "load", unlabelled)
    with pytest.raises(config.ConfigError, match=r"has no labels for heart; config.label_frac must be 0, found 0.5"):
        experiment.train(tiny.experiment(task="heart", label_frac=0.5), tmp_path / "half", tfds_dir, None)
    results = experiment.train(tiny.experiment(task="heart"), tmp_path / "none", tfds_dir, None)
    assert set(results["test"]) == {"source"}
    found = results["plausible"]["transfer"]
    assert (found["images"], len(found["per_image"])) == (32, 32)
    assert found["count"] == sum(found["per_image"].values())
    expected = results["expected_jaccard"]["transfer"]
    assert expected["per_image"].keys() == found["per_image"].keys()
    line = f"no labels; {found['count']} of 32 masks are plausible, expected jaccard {expected['mean']:.2f}"
    assert line in results_module.screen(results)
    for name in ("before_self_training", "transfer"):
        assert (tmp_path / "none" / "overlays" / f"{name}.png").exists()


def test_a_workdir_of_another_config_is_refused(finished, tfds_dir):
    workdir, _ = finished
    with pytest.raises(runs.WorkdirError, match=r"belongs to another config[^$]*config.seed: 0 / 1"):
        experiment.train(tiny.experiment(seed=1), workdir, tfds_dir, None)


def test_evaluating_what_was_never_trained(tmp_path, tfds_dir):
    with pytest.raises(checkpoints.CheckpointError, match=r"there is no checkpoint in"):
        experiment.evaluate(tiny.experiment(), tmp_path, tfds_dir, None)


def test_epochs_are_as_long_as_those_that_warmed_the_translator_up(monkeypatch, tmp_path, tfds_dir):
    """An organ with fewer images goes on from the warm-up of another, whose schedules count its epochs."""
    plan, made = tiny.experiment(transfer__warmup_epochs=3), []
    graph, segmenter = build_segmenter(plan, None)

    class Transfers:
        def __init__(self, jobs, graph, steps_per_epoch=None):
            made.append(steps_per_epoch)

        def warm_up(self):
            return [training.Trained(3, 0.0, None, SimpleNamespace(step=np.int32(21)))]

        def transfer(self, warm):
            pass

    monkeypatch.setattr(transfer, "Transfers", Transfers)
    experiment._transfer([runs.Run(plan, tmp_path)], [datasets.load(plan, tfds_dir, None)], graph, [segmenter])
    assert made == [None, 7]
    monkeypatch.undo()
    noise = on_devices.data()
    side = datasets.Side(noise[np.arange(32)], noise[np.arange(32, 40)])
    job = transfer.Job(plan, segmenter, side, side, np.zeros(32, bool), tmp_path)
    assert [transfer.Transfers([job], graph, steps).steps_per_epoch for steps in (None, 7)] == [2, 7]


def test_labels_of_the_target_enter_where_they_are_kept(finished, tmp_path, tfds_dir, monkeypatch):
    for stage in ("pretraining", "warmup"):  # of which labels of the target are no part
        shutil.copytree(finished[0] / stage, tmp_path / stage)
    stages = {}
    monkeypatch.setattr(segmentation, "Stage", lambda name, *rest: stages.setdefault(name, training.Stage(name, *rest)))
    results = experiment.train(tiny.experiment(label_frac=0.1), tmp_path, tfds_dir, None)
    assert results["labelled_images"] == 10
    rows = [json.loads(line) for line in (tmp_path / "transfer" / "scalars.jsonl").read_text().splitlines()]
    assert rows[-1]["segmentation_b"] > 0
    rows = [json.loads(line) for line in (tmp_path / "self_training" / "scalars.jsonl").read_text().splitlines()]
    assert "score" in rows[-1]  # on labels of the target's validation images, which count here
    adaptation = tiny.experiment().adaptation
    assert rows[-1]["epoch"] == adaptation.epochs  # as long as a baseline learns from them,
    images = len(datasets.load(tiny.experiment(), tfds_dir, None).target)
    assert stages["self_training"].steps == splits.training_share(images) // adaptation.batch_size  # as often


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cyclegan", "unit", "munit_dataset_style"])
def test_every_translator_carries_a_run_through(tmp_path, tfds_dir, name):
    results = experiment.train(tiny.experiment(translator__name=name), tmp_path, tfds_dir, None)
    assert set(results["test"]) == {"source", "source_only", "before_self_training", "transfer"}
    again = experiment.evaluate(tiny.experiment(translator__name=name), tmp_path, tfds_dir, None)
    assert again["test"] == results["test"]


def test_self_training_without_a_transfer_goes_on_from_the_segmenter(finished, tmp_path, tfds_dir):
    transferred, _ = finished
    shutil.copytree(transferred / "pretraining", tmp_path / "pretraining")
    results = experiment.train(tiny.experiment(method="self_training"), tmp_path, tfds_dir, None)
    assert set(results["test"]) == {"source", "source_only", "self_training"}
    assert results["test"]["self_training"] != results["test"]["source_only"]
    assert results["masks_learned_from"]["labels"] == 0 < results["masks_learned_from"]["own"]
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"pretraining", "self_training", "overlays"}
    shown = inference.restore(tmp_path)
    assert shown.epoch == results["epochs"]["self_training"] == 2
    assert experiment.evaluate(tiny.experiment(method="self_training"), tmp_path, tfds_dir, None) == results | {
        "command": results["command"]
    }


@pytest.mark.slow
def test_an_ensemble_goes_the_whole_way(tmp_path, tfds_dir):
    plan = tiny.experiment(method="self_training", ensemble=2, segmenter__depth=1)
    results = experiment.train(plan, tmp_path, tfds_dir, None)
    assert set(results["test"]) == {"source", "source_only", "self_training"}
    model = inference.restore(tmp_path)
    assert model.stage == "self_training"
    assert set(model.model["networks"]) == {0, 1}
    path = ship.segmenter(tmp_path, tmp_path / "weights")
    assert set(inference.restore(path).model["networks"]) == {0, 1}


@pytest.mark.slow
def test_an_ensemble_is_transferred_and_exported(tmp_path, tfds_dir):
    results = experiment.train(tiny.experiment(ensemble=2, self_training__epochs=0), tmp_path, tfds_dir, None)
    model = inference.restore(tmp_path)
    assert (model.stage, set(model.model["segmenter"]["networks"])) == ("transfer", {0, 1})
    assert results["test"]["transfer"] != results["test"]["source_only"]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), np.uint8)
    found = jax.export.deserialize(bytearray(exported.serialise(model))).call(images)
    np.testing.assert_allclose(found, model.soften(images), atol=1e-5)


def test_a_changed_tree_is_told_but_not_for_its_results(tmp_path, monkeypatch):
    def git(*words):
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    for name in ("cxr_jax/provenance.py", "docs/results/table.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "cxr_jax/provenance.py"))
    assert provenance.commit() == "unknown"
    git("init")
    git("commit", "--allow-empty", "-m", "of another project, around this one")
    assert provenance.commit() == "unknown"
    git("add", ".")
    git("commit", "-m", "all")
    head = git("rev-parse", "HEAD").strip()
    (tmp_path / "docs/results/table.json").write_text("[]")
    assert provenance.commit() == head
    (tmp_path / "cxr_jax/provenance.py").write_text("1")
    assert provenance.commit() == f"{head}-dirty"
