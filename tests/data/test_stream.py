"""Images of a target that is too large for memory: which are held there, and which stream, in which order."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cxr_jax import config, datasets, experiment
from cxr_jax.data import large, prepared, splits, stream
from cxr_jax.data.look import Look
from tests import hospitals, tiny

HELD, FEW = 40, 7  # of the 160 phantoms in memory; images in a chunk


@pytest.fixture(scope="module")
def phantoms(tfds_dir):
    """Return all images of scanner b by id."""
    data = prepared.load("phantom/b", "lungs", Look(32), tfds_dir)
    return dict(zip(data.ids, data.images, strict=True))


@pytest.fixture(scope="module")
def data(tfds_dir):
    return datasets.load(tiny.experiment(target_in_memory=HELD), tfds_dir, None)


def chunks(data, indices, seed=0, size=FEW) -> list[np.ndarray]:
    reader = stream.Chunks(data.stream, size, seed)
    found = [np.asarray(reader.at(index)) for index in indices]
    reader.close()
    return found


def names(images, phantoms) -> list[str]:
    """Return the ids of images."""
    known = {image.tobytes(): name for name, image in phantoms.items()}
    return [known[image.tobytes()] for image in images]


def test_what_validates_and_tests_is_in_memory_and_all_else_streams(data, phantoms):
    assert len(data.target) == HELD
    for name, image in zip(data.target.ids, data.target.images, strict=True):
        np.testing.assert_array_equal(image, phantoms[name])
    kept_back = {data.target.ids[row] for row in (*data.target_split.validation, *data.target_split.test)}
    assert len(kept_back) == 16
    assert set(names(data.stream, phantoms)) == set(phantoms) - kept_back


@pytest.mark.parametrize("changes", [{"trim": False}, {"negated": ("phantom/b",)}, {"tones": "equalised"}])
def test_images_are_shown_as_those_in_memory(tfds_dir, changes):
    shown = datasets.load(tiny.experiment(target_in_memory=HELD, **changes), tfds_dir, None)
    known = {image.tobytes() for image in shown.target.images[shown.target_split.train]}
    assert known < {image.tobytes() for image in shown.stream}


def test_a_chunk_follows_from_seed_and_number_alone(data):
    whole = chunks(data, range(6))
    for order in ([5, 4], [2], [3, 4, 5], [0, 1, 5]):
        for index, found in zip(order, chunks(data, order), strict=True):
            np.testing.assert_array_equal(found, whole[index])
    assert whole[0].shape == (FEW, 32, 32, 1)
    assert whole[0].dtype == np.uint8


def test_every_image_comes_once_a_pass_each_time_in_another_order(data, phantoms):
    passes = 3
    found = names(np.concatenate(chunks(data, range(passes * 24), size=6)), phantoms)  # 144 images stream
    parts = [found[start : start + 144] for start in range(0, len(found), 144)]
    assert len(parts) == passes
    assert all(sorted(part) == sorted(parts[0]) for part in parts)
    assert len(set(parts[0])) == 144
    others = [names(np.concatenate(chunks(data, range(24), seed, 6)), phantoms) for seed in (1, 2)]
    assert len(set(map(tuple, [*parts, *others]))) == passes + 2


def test_which_images_are_held_does_not_depend_on_seed_or_fold(data, tfds_dir):
    other = datasets.load(tiny.experiment(target_in_memory=HELD, seed=3, fold=2), tfds_dir, None)
    assert other.target.ids == data.target.ids
    assert other.stream.checksum == data.stream.checksum
    assert set(other.stream.places) != set(data.stream.places)


def test_nobody_is_on_both_sides(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, masks=hospitals.LUNGS, patients=9)
    whose = dict(line.split(",") for line in (folder / "patients.csv").read_text().splitlines()[1:])
    some = {"target": "radiograph_folder", "target_dir": str(folder), "target_in_memory": 12}
    for fold in range(splits.FOLDS):
        data = datasets.load(tiny.experiment(fold=fold, **some), tfds_dir, None)
        whole = large.choose(prepared.prepare("radiograph_folder", tfds_dir, None, str(folder)), 12)
        known = {f"{name}.png": patient for name, patient in zip(whole.ids, whole.patients, strict=True)}
        assert known == whose
        kept_back = {data.target.patients[row] for row in (*data.target_split.validation, *data.target_split.test)}
        streamed = {whole.patients[place] for place in data.stream.places}
        assert len(data.target) <= 12
        assert len(kept_back) + len(streamed) == 9
        assert not kept_back & streamed


def test_a_sample_takes_all_of_a_patient_or_nothing():
    ids, patients = [f"{index:03}" for index in range(100)], [str(index % 13) for index in range(100)]
    chosen = splits.sample(ids, 30, 0, patients)
    assert 20 < len(chosen) <= 30
    inside = {patients[row] for row in chosen}
    assert sum(name in inside for name in patients) == len(chosen)
    turned = splits.sample(ids[::-1], 30, 0, patients[::-1])
    assert {ids[row] for row in chosen} == {ids[::-1][row] for row in turned}
    alone = splits.sample(ids, 30, 0)
    assert len(set(alone)) == 30
    assert list(alone) != list(splits.sample(ids, 30, 1))


def test_a_target_that_fits_does_not_stream(tfds_dir):
    data = datasets.load(tiny.experiment(target_in_memory=160), tfds_dir, None)
    assert data.stream is None
    assert len(data.target) == 160


def test_labels_do_not_stream(tmp_path, tfds_dir):
    wrong = tiny.experiment(target_in_memory=HELD, label_frac=0.5)
    message = r"'phantom/b' has 160 images, .* lets 40 be .*label_frac 0, found 0\.5: set that, or .* to 160 at least"
    with pytest.raises(config.ConfigError, match=message):
        experiment.train(wrong, tmp_path / "run", tfds_dir, None)
    assert not (tmp_path / "run").exists()


def test_masks_that_are_drawn_later_are_nothing_to_what_streams(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, patients=10)
    plan = tiny.experiment(target="radiograph_folder", target_dir=str(folder), target_in_memory=12)

    def checksum():
        return datasets.load(plan, tfds_dir, None).stream.checksum

    before = checksum()
    hospitals.of_phantoms(folder, tfds_dir, masks=hospitals.LUNGS, patients=10)
    assert checksum() == before
    image = min((folder / "images").glob("*"))
    hospitals.save(image, 255 - np.asarray(Image.open(image)))
    assert checksum() != before


def test_too_few_patients_in_memory(tmp_path, tfds_dir):
    folder = hospitals.of_phantoms(tmp_path, tfds_dir, patients=5)  # of four images each
    wrong = tiny.experiment(target="radiograph_folder", target_dir=str(folder), target_in_memory=12)
    with pytest.raises(config.ConfigError, match=r"target_in_memory is 12: .* at least 5 patients .* for 3; raise it"):
        datasets.load(wrong, tfds_dir, None)


def test_reading_needs_no_tensorflow():
    program = "import sys; import cxr_jax.data.large; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
