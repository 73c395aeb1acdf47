"""Preparing datasets, and loading them: looks, tasks, folders."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from cxr_jax.data import prepared, splits
from cxr_jax.data.look import Look
from cxr_jax.data.radiographs import TASKS
from tests import hospitals
from tfds_builders.radiograph_folder import folder as folders


@pytest.fixture(scope="module")
def phantoms(tfds_dir):
    return {task: prepared.load("phantom/b", task, Look(32), tfds_dir) for task in TASKS}


def test_load_gives_sorted_uint8_arrays(phantoms):
    lungs = phantoms["lungs"]
    assert lungs.images.shape == lungs.masks.shape == (160, 32, 32, 1)
    assert lungs.images.dtype == lungs.masks.dtype == np.uint8
    assert list(lungs.ids) == sorted(lungs.ids)
    assert set(np.unique(lungs.masks)) == {0, 1}
    assert (lungs.images.min(axis=(1, 2, 3)) == 0).all()
    assert (lungs.images.max(axis=(1, 2, 3)) == 255).all()


def test_tasks_have_different_masks_of_the_same_images(phantoms):
    areas = {task: data.masks.mean() for task, data in phantoms.items()}
    assert areas["lungs"] > areas["heart"] > areas["clavicles"] > 0
    assert np.array_equal(phantoms["lungs"].images, phantoms["heart"].images)
    assert phantoms["lungs"].fingerprint() != phantoms["heart"].fingerprint()


def test_indexing_keeps_images_masks_and_ids_together(phantoms):
    data = phantoms["lungs"]
    some = data[np.array([5, 2])]
    assert some.ids == (data.ids[5], data.ids[2])
    np.testing.assert_array_equal(some.images[1], data.images[2])


def test_pixels_have_a_size_where_the_field_of_view_is_known(phantoms, tfds_dir, monkeypatch):
    assert phantoms["lungs"].spacing is None
    monkeypatch.setitem(prepared.FIELD_MM, "phantom/b", 320.0)
    data = prepared.load("phantom/b", "lungs", Look(32), tfds_dir)
    whole = prepared.load("phantom/b", "lungs", Look(64), tfds_dir)
    np.testing.assert_allclose(data.spacing, 2 * whole.spacing)
    assert (data.spacing <= 10.0).all()
    assert (data.spacing.min(axis=1) < 10.0).all()  # b has a black frame, which is cut off
    np.testing.assert_array_equal(data[np.array([3, 1])].spacing, data.spacing[[3, 1]])
    untrimmed = prepared.load("phantom/b", "lungs", Look(32, trim=False), tfds_dir)
    assert (untrimmed.spacing == 10.0).all()


def test_negated_images_are_negatives_with_the_same_masks(phantoms, tfds_dir):
    negated = prepared.load("phantom/b", "lungs", Look(32, negate=True), tfds_dir)
    np.testing.assert_array_equal(negated.images, 255 - phantoms["lungs"].images)
    np.testing.assert_array_equal(negated.masks, phantoms["lungs"].masks)


def test_equalised_images_are_as_dark_as_bright(phantoms, tfds_dir):
    stretched = phantoms["lungs"]
    equalised = prepared.load("phantom/b", "lungs", Look(32, tones="equalised"), tfds_dir)
    np.testing.assert_array_equal(equalised.masks, stretched.masks)
    medians = [np.median(data.images / 255, axis=(1, 2, 3)) for data in (stretched, equalised)]
    assert np.abs(medians[1] - 0.5).max() < 0.1 < np.abs(medians[0] - 0.5).max()


def test_untrimmed_images_keep_their_black_frame(phantoms, tfds_dir):
    trimmed = phantoms["lungs"]
    whole = prepared.load("phantom/b", "lungs", Look(32, trim=False), tfds_dir)
    edges = [(data.images[:, :, [0, -1]] < 10).all(axis=1).mean() for data in (trimmed, whole)]
    assert edges[0] < 0.2 < 0.5 < edges[1]
    assert whole.masks.mean() < trimmed.masks.mean()


def test_images_are_not_blown_up(tfds_dir):
    with pytest.raises(prepared.DatasetError, match=r"holds images of 128x128: expected config.image_size to be"):
        prepared.load("phantom/b", "lungs", Look(160), tfds_dir)


def test_unknown_dataset_lists_the_valid_ones(tmp_path):
    with pytest.raises(prepared.DatasetError, match=r"unknown dataset 'shenzen'.*jsrt, montgomery"):
        prepared.load("shenzen", "lungs", Look(32), str(tmp_path))


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def denied(*arguments, **options):
        raise PermissionError(13, "Permission denied", "0001.png")

    monkeypatch.setattr(prepared.tfds, "builder", denied)
    with pytest.raises(prepared.DatasetError, match=r"could not be prepared: .*Permission denied: '0001\.png'"):
        prepared.prepare("jsrt", str(tmp_path), None)


def test_another_process_may_finish_preparing_first(phantoms, tfds_dir, tmp_path, monkeypatch):
    def finished_by_another(builder, **options):
        shutil.copytree(tfds_dir, tmp_path, dirs_exist_ok=True)

    monkeypatch.setattr(prepared.tfds.core.GeneratorBasedBuilder, "_download_and_prepare", finished_by_another)
    loaded = prepared.load("phantom/b", "lungs", Look(32), str(tmp_path))
    np.testing.assert_array_equal(loaded.images, phantoms["lungs"].images)
    assert not list(tmp_path.rglob("incomplete*"))


@pytest.mark.parametrize("name", ["jsrt", "montgomery"])
def test_nothing_in_the_manual_directory(tmp_path, name):
    with pytest.raises(prepared.DatasetError, match=f"dataset '{name}' could not be prepared"):
        prepared.load(name, "lungs", Look(32), str(tmp_path / "data"), str(tmp_path / "manual"))
    assert not list((tmp_path / "data").rglob("*.array_record*"))


@pytest.fixture(scope="module")
def hospital(tmp_path_factory, tfds_dir):
    """Return a folder with images of scanner b, 128x128, masks of both lungs, and two images a patient."""
    return hospitals.of_phantoms(tmp_path_factory.mktemp("hospital"), tfds_dir, masks=hospitals.LUNGS, patients=10)


def load_folder(folder, tfds_dir, task="lungs"):
    return prepared.load("radiograph_folder", task, Look(32), tfds_dir, folder=str(folder))


def test_a_folder_is_loaded_as_what_is_in_it(phantoms, hospital, tfds_dir):
    data = load_folder(hospital, tfds_dir)
    assert data.name == f"radiograph_folder {hospital}"
    assert list(data.ids) == sorted(path.stem for path in hospital.glob("images/*"))
    same = phantoms["lungs"][np.array([phantoms["lungs"].ids.index(name) for name in data.ids])]
    assert np.abs(data.images.astype(int) - same.images).mean() < 12  # enlarged, and shrunk again
    assert (data.masks != same.masks).mean() < 0.03
    assert data.patients == tuple(str(index % 10) for index in range(20))
    assert data[np.array([3, 1])].patients == ("3", "1")
    assert load_folder(hospital, tfds_dir, "heart").masks is None


def test_some_images_have_masks_and_others_not(hospital, tmp_path, tfds_dir):
    whole = load_folder(hospital, tfds_dir)
    shutil.copytree(hospital, tmp_path / "some")
    for path in tmp_path.glob("some/masks/*/*"):
        if path.stem in whole.ids[5:]:
            path.unlink()
    some = load_folder(tmp_path / "some", tfds_dir)
    assert whole.annotated is None
    np.testing.assert_array_equal(some.has_mask, np.arange(20) < 5)
    np.testing.assert_array_equal(some.masks[:5], whole.masks[:5])
    assert not some.masks[5:].any()
    assert some.with_masks().ids == whole.ids[:5]
    assert some[np.array([4, 9])].has_mask.tolist() == [True, False]
    assert some.fingerprint() != dataclasses.replace(some, annotated=None).fingerprint()
    assert not some.with_other_masks(None).has_mask.any()
    assert len(whole.with_masks()) == 20


def test_patients_are_part_of_the_fingerprint(hospital, tfds_dir):
    data = load_folder(hospital, tfds_dir)
    assert data.fingerprint() != dataclasses.replace(data, patients=None).fingerprint()


def test_one_mask_of_both_lungs_does_as_well(hospital, tmp_path, tfds_dir):
    shutil.copytree(hospital / "images", tmp_path / "images")
    (tmp_path / "masks/lungs").mkdir(parents=True)
    for path in hospital.glob("images/*"):
        left, right = (np.asarray(Image.open(hospital / "masks" / side / path.name)) for side in hospitals.LUNGS)
        Image.fromarray(left | right).save(tmp_path / "masks/lungs" / path.name)
    one, two = load_folder(tmp_path, tfds_dir), load_folder(hospital, tfds_dir)
    np.testing.assert_array_equal(one.masks, two.masks)
    assert one.patients is None


def test_tasks_and_features():
    features = ("left_lung", "right_lung", "heart", "clavicles", "left_clavicle")
    assert prepared.structures_of("lungs", features) == hospitals.LUNGS
    assert prepared.structures_of("heart", features) == ("heart",)
    assert prepared.structures_of("clavicles", features) == ("clavicles",)
    assert prepared.structures_of("clavicles", features[:3]) == ()


def test_what_is_wrong_with_a_folder_is_a_dataset_error(tmp_path, tfds_dir):
    with pytest.raises(
        prepared.DatasetError, match=r"'radiograph_folder' could not be prepared: .*: 1 fault:\n  it is not there"
    ):
        load_folder(tmp_path / "nowhere", tfds_dir)
    with pytest.raises(prepared.DatasetError, match=r"expected a folder for dataset 'radiograph_folder'"):
        prepared.load("radiograph_folder", "lungs", Look(32), tfds_dir)
    with pytest.raises(prepared.DatasetError, match=r"found '/some' for 'phantom/b'"):
        prepared.load("phantom/b", "lungs", Look(32), tfds_dir, folder="/some")


def test_a_folder_holds_at_least_what_splitting_needs():
    assert folders.LEAST == splits.FOLDS
