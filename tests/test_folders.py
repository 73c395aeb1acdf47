"""Whole runs on a folder of radiographs: patients, partial masks, shares of its labels, and what is refused."""

import dataclasses
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cxr_jax import checkpoints, config, datasets, experiment, grid, inference, runs
from cxr_jax import results as results_module
from cxr_jax.data import prepared, splits
from tests import hospitals, tiny


@pytest.fixture
def hospital(tmp_path, tfds_dir):
    return hospitals.of_phantoms(tmp_path / "hospital", tfds_dir)


def test_a_folder_is_split_by_patient(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, patients=7)
    for fold in range(5):
        data = datasets.load(tiny.of_folder(folder, fold=fold, label_frac=0.2), tfds_dir, None)
        split, whose = data.target_split, np.array(data.target.patients)
        assert sum(len(set(whose[rows])) for rows in split) == 7
        known = whose[split.train][data.labelled]
        assert len(known)
        assert not set(known) & set(whose[split.train][~data.labelled])


def test_a_folder_that_another_process_works_in_is_refused(tmp_path, tfds_dir, monkeypatch):
    monkeypatch.setattr(checkpoints, "require_finished", lambda *_: None)
    run = runs.Run(tiny.experiment(), tmp_path)
    hold = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], 0), fcntl.LOCK_EX); print(flush=True); input()"
    words = [sys.executable, "-c", hold, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        for work in (experiment.train, experiment.evaluate):
            with pytest.raises(runs.WorkdirError, match="another process is at work in"):
                work(run.experiment, tmp_path, tfds_dir, None)
        assert not list(tmp_path.iterdir())
        other.communicate(b"\n")
    with runs.held([run]):
        pass


def test_a_workdir_whose_folder_has_changed_is_refused(hospital, tmp_path, tfds_dir):
    run = runs.Run(tiny.of_folder(hospital), tmp_path / "run")
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
    run = runs.Run(tiny.of_folder(hospital, label_frac=0.5), tmp_path / "run")
    runs.claim(run, datasets.load(run.experiment, tfds_dir, None))
    for path in hospital.glob("masks/left_lung/*"):
        path.write_bytes((hospital / "masks/right_lung" / path.name).read_bytes())
    with pytest.raises(runs.WorkdirError, match="was begun with other images, masks"):
        runs.claim(run, datasets.load(run.experiment, tfds_dir, None))


def test_a_folder_that_cannot_be_read_claims_no_workdir_and_is_told_before_the_source_is_prepared(tmp_path, tfds_dir):
    wrong = tiny.of_folder(tmp_path / "hopsital", source="jsrt")  # whose downloads are not there either
    with pytest.raises(prepared.DatasetError, match=r"hopsital: 1 fault:\n  it is not there, or no folder"):
        experiment.train(wrong, tmp_path / "run", tfds_dir, None)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_masks_is_no_source(hospital, tmp_path, tfds_dir):
    wrong = tiny.experiment(source="radiograph_folder", source_dir=str(hospital))
    with pytest.raises(config.ConfigError, match=r"config.source 'radiograph_folder /.*' has no labels for lungs"):
        experiment.train(wrong, tmp_path / "run", tfds_dir, None)


def test_a_share_of_the_labels_is_one_of_those_that_are_there(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    data = datasets.load(tiny.of_folder(folder, label_frac=1.0), tfds_dir, None)
    split, having = data.target_split, data.target.has_mask
    assert having.sum() == 13
    np.testing.assert_array_equal(data.labelled, having[split.train])
    np.testing.assert_array_equal(data.judges(), [row for row in split.validation if having[row]])
    np.testing.assert_array_equal(data.known()[split.validation], having[split.validation])
    fewer = datasets.load(tiny.of_folder(folder, label_frac=0.4), tfds_dir, None).labelled
    assert fewer.sum() == round(0.4 * data.labelled.sum())
    assert not (fewer & ~data.labelled).any()
    whole = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS)
    for part, other in zip(datasets.load(tiny.of_folder(whole), tfds_dir, None).target_split, split, strict=True):
        np.testing.assert_array_equal(part, other)


def test_labels_alone_choose_the_epoch_of_self_training_where_there_are_some(tmp_path, tfds_dir, monkeypatch):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    setting = tiny.of_folder(folder, method="self_training", label_frac=1.0)
    data = datasets.load(setting, tfds_dir, None)
    segmenter = SimpleNamespace(tidy=lambda images: images > 127, model=None)
    monkeypatch.setattr(inference, "restore", lambda folder: segmenter)
    job = experiment._self_training(runs.Run(setting, tmp_path / "run"), data)
    assert job.epoch == 2 * splits.training_share(int(data.target.has_mask.sum()))  # not of all images
    judges = data.target[data.judges()]
    assert 0 < len(judges) < len(data.target_split.validation)
    assert list(job.validation.ids) == list(judges.ids)
    np.testing.assert_array_equal(job.validation.masks, judges.masks)
    assert job.trusted


def test_a_seed_without_labels_where_they_are_needed_is_told_whatever_others_have(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(3, 20))
    found = {}
    for seed in range(12):
        plan = tiny.of_folder(folder, seed=seed, label_frac=1.0)
        try:
            datasets.load(plan, tfds_dir, None)
        except config.ConfigError as error:
            found.setdefault(False, (plan, str(error)))
        else:
            found.setdefault(True, (plan, ""))
    (good, _), (bad, message) = found[True], found[False]
    unlabelled = dataclasses.replace(bad, label_frac=0.0)
    assert [place for place, _ in datasets.each([good, unlabelled], tfds_dir, None)] == [0, 1]
    for order in ([good, bad], [bad, good]):
        with pytest.raises(config.ConfigError, match=re.escape(message)):
            list(datasets.each([unlabelled, *order], tfds_dir, None))


def test_labels_must_train_and_choose_the_epoch(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(1, 20))
    with pytest.raises(config.ConfigError, match=r"images that (train|choose the epoch), found none; draw some"):
        datasets.load(tiny.of_folder(folder, label_frac=1.0), tfds_dir, None)
    with pytest.raises(config.ConfigError, match=r"expected masks for lungs of at least 5 images, .*found 1"):
        datasets.load(tiny.experiment(source="radiograph_folder", source_dir=str(folder)), tfds_dir, None)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["transfer", "fine_tuning"])
def test_labels_of_some_images_teach_and_test(tmp_path, tfds_dir, method):
    folder = hospitals.of_phantoms(tmp_path / "some", tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    some = tiny.of_folder(folder, label_frac=1.0, method=method)
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
    results = experiment.train(tiny.of_folder(folder, label_frac=1.0, **both), tmp_path / "run", tfds_dir, None)
    assert len(results["test"]["transfer"]["jaccard"]["per_image"]) == 1
    assert results["labelled_images"] == 3
    assert (tmp_path / "run/overlays/transfer.png").exists()


def test_a_folder_on_both_sides_may_not_test_what_it_has_taught(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, unmasked=range(0, 20, 3))
    both = tiny.of_folder(folder, source="radiograph_folder", source_dir=str(folder))
    with pytest.raises(config.ConfigError, match=r"among those that the segmenter learns from, .* first"):
        datasets.load(both, tfds_dir, None)
    alike = tiny.experiment(source="phantom/b", target="phantom/b")
    datasets.load(alike, tfds_dir, None)  # both sides are split alike


def test_finished_cells_of_a_folder_that_has_changed_are_refused(tmp_path, tfds_dir, monkeypatch):
    folder = hospitals.of_phantoms(tmp_path / "hospital", tfds_dir, masks=hospitals.LUNGS)
    plan = tiny.experiment(method="segmentation", source="radiograph_folder", source_dir=str(folder), target=None)
    cells = [runs.Run(dataclasses.replace(plan, fold=fold), tmp_path / str(fold)) for fold in range(2)]
    trained = []

    def train_together(some, data_dir, manual_dir):
        trained.extend(some)
        for cell in some:
            runs.claim(cell, datasets.load(cell.experiment, data_dir, manual_dir))
            (cell.workdir / results_module.FILE).touch()

    monkeypatch.setattr(experiment, "train_together", train_together)
    grid.train(cells[:1], 1, lambda cell: 0, tfds_dir, None)
    grid.train(cells, 1, lambda cell: 0, tfds_dir, None)
    assert trained == cells
    (cells[1].workdir / results_module.FILE).unlink()
    mask = next((folder / "masks").glob("*/*.png"))
    Image.fromarray(np.roll(np.asarray(Image.open(mask)), 16, axis=1)).save(mask)
    with pytest.raises(runs.WorkdirError, match="was begun with other images, masks or patients"):
        grid.train(cells, 1, lambda cell: 0, tfds_dir, None)
    assert trained == cells
