"""Loading prepared datasets: trimming, normalising, tasks."""

import numpy as np
import pytest

from cxr_jax.data import radiographs


def test_body_frame_drops_black_borders():
    image = np.full((20, 30), 3, np.uint8)
    image[4:15, 6:28] = 200
    assert radiographs.body_frame(image) == (slice(4, 15), slice(6, 28))
    assert radiographs.body_frame(np.zeros((4, 4), np.uint8)) == (slice(None), slice(None))


def test_normalise_stretches_to_the_full_range():
    image = np.array([[50.0, 90.0], [75.0, 150.0]])
    np.testing.assert_array_equal(radiographs.normalise(image), [[0, 102], [64, 255]])
    assert not radiographs.normalise(np.full((3, 3), 7.0)).any()


@pytest.fixture(scope="module")
def phantoms(tfds_dir):
    return {task: radiographs.load("phantom/b", task, 32, tfds_dir) for task in radiographs.TASKS}


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
    monkeypatch.setitem(radiographs.FIELD_MM, "phantom/b", 320.0)
    data = radiographs.load("phantom/b", "lungs", 32, tfds_dir)
    whole = radiographs.load("phantom/b", "lungs", 64, tfds_dir)
    np.testing.assert_allclose(data.spacing, 2 * whole.spacing)
    assert (data.spacing <= 10.0).all()
    assert (data.spacing.min(axis=1) < 10.0).all()  # b has a black frame, which is cut off
    np.testing.assert_array_equal(data[np.array([3, 1])].spacing, data.spacing[[3, 1]])
    untrimmed = radiographs.load("phantom/b", "lungs", 32, tfds_dir, trim=False)
    assert (untrimmed.spacing == 10.0).all()


def test_negated_images_are_negatives_with_the_same_masks(phantoms, tfds_dir):
    negated = radiographs.load("phantom/b", "lungs", 32, tfds_dir, negate=True)
    np.testing.assert_array_equal(negated.images, 255 - phantoms["lungs"].images)
    np.testing.assert_array_equal(negated.masks, phantoms["lungs"].masks)


def test_untrimmed_images_keep_their_black_frame(phantoms, tfds_dir):
    trimmed = phantoms["lungs"]
    whole = radiographs.load("phantom/b", "lungs", 32, tfds_dir, trim=False)
    edges = [(data.images[:, :, [0, -1]] < 10).all(axis=1).mean() for data in (trimmed, whole)]
    assert edges[0] < 0.2 < 0.5 < edges[1]
    assert whole.masks.mean() < trimmed.masks.mean()


def test_unknown_dataset_lists_the_valid_ones(tmp_path):
    with pytest.raises(radiographs.DatasetError, match=r"unknown dataset 'shenzen'.*jsrt, montgomery"):
        radiographs.load("shenzen", "lungs", 32, str(tmp_path))


@pytest.mark.parametrize("name", ["jsrt", "montgomery"])
def test_nothing_in_the_manual_directory(tmp_path, name):
    with pytest.raises(radiographs.DatasetError, match=f"dataset '{name}' could not be prepared"):
        radiographs.load(name, "lungs", 32, str(tmp_path / "data"), str(tmp_path / "manual"))
    assert not list((tmp_path / "data").rglob("*.array_record*"))
