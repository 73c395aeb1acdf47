"""Whole runs at the smallest size: results, resuming, evaluating again, and what is refused."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import ndimage

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
    tta,
)
from cxr_jax import results as results_module
from cxr_jax.data import radiographs, splits, stream
from tests import hospitals, tiny
from tfds_builders import squares


def ones(images: np.ndarray) -> np.ndarray:
    return np.ones(images.shape, np.float32)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tfds_dir):
    """Return work directory and results of an uninterrupted run, which has saved each epoch."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "CHECKPOINT_EVERY", 0.0)
        return workdir, experiment.train(tiny.experiment(), workdir, tfds_dir, None)


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
    for stage, epoch in (("pretraining", 1), ("warmup", 1), ("transfer", 1), ("self_training", 1)):

        def stop(store, at, *rest, stage=stage, epoch=epoch):
            save(store, at, *rest)
            store.wait()
            if store._directory.parent.name == stage and at == epoch:
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


def test_evaluate_gives_the_same_figures_and_trains_nothing(finished, tfds_dir, monkeypatch):
    workdir, results = finished
    monkeypatch.setattr(segmentation, "train", None)
    monkeypatch.setattr(transfer, "attempt", None)
    again = experiment.evaluate(tiny.experiment(), workdir, tfds_dir, None)
    assert again["test"] == results["test"]


def test_results_name_what_trained_a_model_not_what_tested_it_last(finished, tfds_dir, monkeypatch):
    workdir, results = finished
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
    load = radiographs.load

    def scrambled(name, *arguments, **options):
        data = load(name, *arguments, **options)
        if name != "phantom/b":
            return data
        return radiographs.Radiographs(data.name, data.images, 1 - data.masks, data.ids)

    monkeypatch.setattr(radiographs, "load", scrambled)
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
    data = radiographs.load("phantom/b", "lungs", 32, tfds_dir)[np.arange(4)]
    images = iteration.training_images(data, data, np.array([True, False, False, True]))
    assert [bool(mask.any()) for mask in images.b_masks] == [True, False, False, True]


def test_a_target_without_labels_is_qualitative_and_has_no_labelled_share(tmp_path, tfds_dir, monkeypatch):
    load = radiographs.load

    def unlabelled(name, *arguments, **options):
        data = load(name, *arguments, **options)
        masks = None if name == "phantom/b" else data.masks
        return radiographs.Radiographs(data.name, data.images, masks, data.ids)

    monkeypatch.setattr(radiographs, "load", unlabelled)
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


def test_restored_predictor_segments_an_image_of_any_size(finished, tfds_dir):
    workdir, results = finished
    predictor = inference.restore(workdir)
    assert predictor.epoch == results["epochs"]["transfer"] == 2
    assert inference.restore(workdir / "transfer").epoch == results["epochs"]["before_self_training"]
    image = radiographs.load("phantom/b", "lungs", 128, tfds_dir).images[0, ..., 0]
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
    segmenter = inference.restore(workdir / "pretraining")
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
    small = radiographs.load("phantom/b", "lungs", 64, tfds_dir).images[0, ..., 0]
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
    prepared = radiographs.load("radiograph_folder", "lungs", 32, tfds_dir, folder=str(tmp_path))
    seen = []
    model = dataclasses.replace(
        inference.restore(finished[0]),
        experiment=folder_experiment(tmp_path),
        soften=lambda images: seen.append(images) or ones(images),
    )
    assert len(list(model.masks(drawn, batch=len(drawn)))) == len(drawn)
    np.testing.assert_array_equal(seen[0], prepared.images)
    assert exported.describe(model)["preparation"][0].startswith("resize the image to 512x512")


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


def test_labels_of_the_target_enter_where_they_are_kept(tmp_path, tfds_dir, monkeypatch):
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


@pytest.fixture
def hospital(tmp_path, tfds_dir):
    return hospitals.of_phantoms(tmp_path / "hospital", tfds_dir)


def folder_experiment(folder, **changes):
    return tiny.experiment(target="radiograph_folder", target_dir=str(folder), **changes)


def test_a_folder_is_split_by_patient(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, patients=7)
    for fold in range(5):
        data = datasets.load(folder_experiment(folder, fold=fold, label_frac=0.2), tfds_dir, None)
        split, whose = data.target_split, np.array(data.target.patients)
        assert sum(len(set(whose[rows])) for rows in split) == 7
        known = whose[split.train][data.labelled]
        assert len(known)
        assert not set(known) & set(whose[split.train][~data.labelled])


def test_a_folder_that_another_process_works_in_is_refused(finished, tfds_dir):
    workdir, results = finished
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    words = [sys.executable, "-c", hold, str(workdir)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(runs.WorkdirError, match="another process is at work in"):
            experiment.evaluate(tiny.experiment(), workdir, tfds_dir, None)
        other.communicate(b"\n")
    assert experiment.evaluate(tiny.experiment(), workdir, tfds_dir, None)["test"] == results["test"]


def test_a_workdir_whose_folder_has_changed_is_refused(hospital, tmp_path, tfds_dir):
    run = runs.Run(folder_experiment(hospital), tmp_path / "run")
    runs.claim(run, datasets.load(run.experiment, tfds_dir, None))
    runs.claim(run, datasets.load(run.experiment, tfds_dir, None))
    hospitals.of_phantoms(hospital, tfds_dir, masks=hospitals.LUNGS)  # without labels, they play no part
    runs.claim(run, datasets.load(run.experiment, tfds_dir, None))
    hospitals.of_phantoms(hospital, tfds_dir, count=21, masks=hospitals.LUNGS)
    with pytest.raises(runs.WorkdirError, match=r"run was begun with other images, .* config\.target_dir '.*' holds"):
        experiment.train(run.experiment, run.workdir, tfds_dir, None)
    assert not (run.workdir / "pretraining").exists()


def test_labels_that_changed_are_another_matter_where_they_teach(hospital, tmp_path, tfds_dir):
    hospitals.of_phantoms(hospital, tfds_dir, masks=hospitals.LUNGS)
    run = runs.Run(folder_experiment(hospital, label_frac=0.5), tmp_path / "run")
    runs.claim(run, datasets.load(run.experiment, tfds_dir, None))
    for path in hospital.glob("masks/left_lung/*"):
        path.write_bytes((hospital / "masks/right_lung" / path.name).read_bytes())
    with pytest.raises(runs.WorkdirError, match="was begun with other images, masks"):
        runs.claim(run, datasets.load(run.experiment, tfds_dir, None))


def test_a_folder_that_cannot_be_read_claims_no_workdir_and_is_told_before_the_source_is_prepared(tmp_path, tfds_dir):
    wrong = folder_experiment(tmp_path / "hopsital", source="jsrt")  # whose downloads are not there either
    with pytest.raises(radiographs.DatasetError, match=r"hopsital: 1 fault:\n  it is not there, or no folder"):
        experiment.train(wrong, tmp_path / "run", tfds_dir, None)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_masks_is_no_source(hospital, tmp_path, tfds_dir):
    wrong = tiny.experiment(source="radiograph_folder", source_dir=str(hospital))
    with pytest.raises(config.ConfigError, match=r"config.source 'radiograph_folder /.*' has no labels for lungs"):
        experiment.train(wrong, tmp_path / "run", tfds_dir, None)


def test_a_share_of_the_labels_is_one_of_those_that_are_there(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    data = datasets.load(folder_experiment(folder, label_frac=1.0), tfds_dir, None)
    split, having = data.target_split, data.target.has_mask
    assert having.sum() == 13
    np.testing.assert_array_equal(data.labelled, having[split.train])
    np.testing.assert_array_equal(data.judges(), [row for row in split.validation if having[row]])
    np.testing.assert_array_equal(data.known()[split.validation], having[split.validation])
    fewer = datasets.load(folder_experiment(folder, label_frac=0.4), tfds_dir, None).labelled
    assert fewer.sum() == round(0.4 * data.labelled.sum())
    assert not (fewer & ~data.labelled).any()
    whole = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS)
    for part, other in zip(datasets.load(folder_experiment(whole), tfds_dir, None).target_split, split, strict=True):
        np.testing.assert_array_equal(part, other)


def test_labels_alone_choose_the_epoch_of_self_training_where_there_are_some(tmp_path, tfds_dir, monkeypatch):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    setting = folder_experiment(folder, method="self_training", label_frac=1.0)
    data, jobs = datasets.load(setting, tfds_dir, None), []
    monkeypatch.setattr(segmentation, "self_train", jobs.extend)
    segmenter = SimpleNamespace(tidy=lambda images: images > 127, model=None)
    monkeypatch.setattr(inference, "restore", lambda folder: segmenter)
    experiment._self_train([runs.Run(setting, tmp_path / "run")], [data])
    (job,) = jobs
    judges = data.target[data.judges()]
    assert 0 < len(judges) < len(data.target_split.validation)
    assert list(job.validation.ids) == list(judges.ids)
    np.testing.assert_array_equal(job.validation.masks, judges.masks)
    assert job.trusted


def test_a_seed_without_labels_where_they_are_needed_is_told_whatever_others_have(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(3, 20))
    found = {}
    for seed in range(12):
        plan = folder_experiment(folder, seed=seed, label_frac=1.0)
        try:
            datasets.load(plan, tfds_dir, None)
        except config.ConfigError as error:
            found.setdefault(False, (plan, str(error)))
        else:
            found.setdefault(True, (plan, ""))
    (good, _), (bad, message) = found[True], found[False]
    unlabelled = dataclasses.replace(bad, label_frac=0.0)
    datasets.require([good, unlabelled], tfds_dir, None)
    for order in ([good, bad], [bad, good]):
        with pytest.raises(config.ConfigError, match=re.escape(message)):
            datasets.require([unlabelled, *order], tfds_dir, None)


def test_labels_must_train_and_choose_the_epoch(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(1, 20))
    with pytest.raises(config.ConfigError, match=r"images that (train|choose the epoch), found none; draw some"):
        datasets.load(folder_experiment(folder, label_frac=1.0), tfds_dir, None)
    with pytest.raises(config.ConfigError, match=r"expected masks for lungs of at least 5 images, .*found 1"):
        datasets.load(tiny.experiment(source="radiograph_folder", source_dir=str(folder)), tfds_dir, None)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["transfer", "fine_tuning"])
def test_labels_of_some_images_teach_and_test(tmp_path, tfds_dir, method):
    folder = hospitals.of_phantoms(tmp_path / "some", tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    some = folder_experiment(folder, label_frac=1.0, method=method)
    data = datasets.load(some, tfds_dir, None)
    results = experiment.train(some, tmp_path / "run", tfds_dir, None)
    assert results["labelled_images"] == data.labelled.sum()
    tested = data.target[data.target_split.test]
    assert set(results["test"][method]["jaccard"]["per_image"]) == set(tested.with_masks().ids)
    assert set(results["plausible"][method]["per_image"]) == set(tested.ids)


@pytest.mark.slow
def test_a_handful_of_images_is_enough_to_run(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path / "few", tfds_dir, count=5, masks=hospitals.LUNGS)
    both = {"source": "radiograph_folder", "source_dir": str(folder)}
    results = experiment.train(folder_experiment(folder, label_frac=1.0, **both), tmp_path / "run", tfds_dir, None)
    assert len(results["test"]["transfer"]["jaccard"]["per_image"]) == 1
    assert results["labelled_images"] == 3
    assert (tmp_path / "run/overlays/transfer.png").exists()


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
