"""Folders of radiographs to masks, overlays and measurements, with models trained for the test."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from cxr_jax import experiment, inference, prediction, runs
from cxr_jax.data import radiographs
from tests import tiny
from tests.samples import dicom

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def models(tmp_path_factory, tfds_dir):
    """Return the work directories of small segmenters of lungs and heart."""
    folders = {task: tmp_path_factory.mktemp(task) for task in ("lungs", "heart")}
    plain = tiny.experiment(method="segmentation", self_training__epochs=0, pretraining__epochs=6)
    jobs = [runs.Run(dataclasses.replace(plain, task=task), folder) for task, folder in folders.items()]
    experiment.train_together(jobs, tfds_dir, None)
    return folders


@pytest.fixture
def folder(tmp_path, tfds_dir):
    """Return a folder with a picture, a DICOM file of the same name and one in a sub-folder, each of another size."""
    images = radiographs.load("phantom/a", "lungs", 128, tfds_dir).images[:3, ..., 0]
    source = tmp_path / "in"
    (source / "more").mkdir(parents=True)
    Image.fromarray(images[0][:, :100]).save(source / "x.png")
    Image.fromarray(images[2]).save(source / "more" / "y.tif")
    (source / "x.dcm").write_bytes(dicom(images[1][:90].astype(np.uint16) * 16, PixelSpacing=[0.5, 0.25]))
    (source / "notes.txt").write_text("not a radiograph")
    return source


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / prediction.TABLE).open() as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def written(output: Path) -> set[str]:
    return {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}


def test_every_radiograph_has_masks_of_its_own_size_an_overlay_and_a_line(models, folder, tmp_path):
    output = tmp_path / "out"
    assert prediction.predict(list(models.values()), folder, output) == 0
    stems = {"x_png": (128, 100), "x_dcm": (90, 128), "more/y": (128, 128)}
    assert written(output) == {f"{s}_{kind}.png" for s in stems for kind in ("lungs", "heart", "overlay")} | {
        prediction.TABLE
    }
    model = inference.restore(models["lungs"])
    for stem, size in stems.items():
        mask = np.asarray(Image.open(output / f"{stem}_lungs.png"))
        assert mask.shape == size
        assert set(np.unique(mask)) <= {0, 255}
    mask = np.asarray(Image.open(output / "more/y_lungs.png")) > 0
    image = np.asarray(Image.open(folder / "more/y.tif")).astype(np.float32)
    np.testing.assert_array_equal(mask, model(image, tidy=True))
    rows = table(output)
    assert set(rows) == {"x.png", "x.dcm", "more/y.tif"}
    row = rows["more/y.tif"]
    assert (row["status"], row["height"], row["width"], row["lungs_area_mm2"]) == ("ok", "128", "128", "")
    assert float(row["lungs_area_px"]) == mask.sum() > 0
    row = rows["x.dcm"]
    assert float(row["lungs_area_mm2"]) == pytest.approx(0.125 * float(row["lungs_area_px"]), rel=1e-4)
    assert float(row["cardiothoracic_ratio"]) == pytest.approx(
        float(row["heart_width_mm"]) / float(row["lungs_width_mm"]), rel=1e-4
    )


def test_nothing_is_overwritten_unless_told_and_the_output_is_not_read(models, folder):
    output = folder / "out"
    lungs = [models["lungs"]]
    prediction.predict(lungs, folder, output)
    with pytest.raises(prediction.PredictionError, match="7 files are there already"):
        prediction.predict(lungs, folder, output)
    before = written(output)
    prediction.predict(lungs, folder, output, overwrite=True)
    assert written(output) == before


def test_a_bad_file_is_named_and_skipped(models, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    output = tmp_path / "out"
    assert prediction.predict([models["lungs"]], folder, output) == 1
    rows = table(output)
    assert "not a readable radiograph" in rows["broken.png"]["status"]
    assert [row["status"] for row in rows.values()].count("ok") == 3


def test_a_single_file_as_nifti(models, folder, tmp_path):
    prediction.predict([models["lungs"]], folder / "x.dcm", tmp_path / "out", mask_format="nifti")
    found = nibabel.load(tmp_path / "out" / "x_lungs.nii.gz")
    assert found.shape == (128, 90, 1)
    assert found.header.get_zooms()[:2] == (0.25, 0.5)
    assert set(np.unique(found.get_fdata())) <= {0.0, 1.0}


def test_dicom_files_get_dicom_segmentations_and_others_are_named(models, folder, tmp_path):
    highdicom = pytest.importorskip("highdicom")
    uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID")}
    pixels = np.asarray(Image.open(folder / "more/y.tif")).astype(np.uint16)
    (folder / "more/y.dcm").write_bytes(dicom(pixels, PatientID="A17", **uids))
    output = tmp_path / "out"
    assert prediction.predict([models["lungs"]], folder, output, mask_format="dicom_seg") == 3
    found = highdicom.seg.segread(output / "more/y_dcm_lungs.dcm")
    assert (found.PatientID, found.StudyInstanceUID) == ("A17", uids["StudyInstanceUID"])
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == uids["SeriesInstanceUID"]
    expected = inference.restore(models["lungs"])(pixels.astype(np.float32), tidy=True)
    np.testing.assert_array_equal(found.pixel_array.reshape(pixels.shape) > 0, expected)
    assert expected.any()
    status = {name: row["status"] for name, row in table(output).items()}
    assert status["more/y.dcm"] == "ok"
    assert "a segmentation cannot refer to it" in status["x.png"]
    assert "found none of StudyInstanceUID" in status["x.dcm"]


def test_the_table_holds_nothing_that_a_spreadsheet_or_a_terminal_obeys(models, folder, tmp_path):
    (folder / "x.png").rename(folder / "=1+1\x1b[2J.png")
    prediction.predict([models["lungs"]], folder, tmp_path / "out")
    assert "./=1+1\\x1b[2J.png" in table(tmp_path / "out")


def test_links_do_not_lead_out_of_a_folder_nor_round_in_it(models, folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("L", (64, 64)).save(other / "secret.png")
    (folder / "away").symlink_to(other)
    (folder / "round").symlink_to(folder)
    (folder / "link.png").symlink_to(other / "secret.png")
    names = {item.name for item in prediction.find(folder, tmp_path / "out")}
    assert names == {"x.png", "x.dcm", "more/y.tif"}


def test_what_cannot_start_is_refused(models, folder, tmp_path):
    lungs = models["lungs"]
    for source, message in ((tmp_path / "none", "there is no"), (tmp_path, "holds no radiograph")):
        with pytest.raises(prediction.PredictionError, match=message):
            prediction.find(source, folder)
    with pytest.raises(prediction.PredictionError, match="draws lungs, as another checkpoint does"):
        prediction.predict([lungs, lungs / "pretraining"], folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_probabilities_and_masks_agree(models, folder):
    model = inference.restore(models["lungs"])
    images = [np.asarray(Image.open(folder / name)).astype(np.float32) for name in ("x.png", "more/y.tif")]
    for image, mask in zip(images, model.masks(images, batch=4), strict=True):
        np.testing.assert_array_equal(mask, model(image))
        probability = model.probability(image)
        assert probability.shape == image.shape
        assert 0 <= probability.min() <= probability.max() <= 1
        assert (
            (probability >= 0.5) == mask
        ).mean() > 0.95  # one is cut at one half before it is resized, the other after


def command(*arguments: str) -> subprocess.CompletedProcess:
    words = [sys.executable, "main.py", "--mode=predict", *arguments]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_command_says_what_was_skipped_by_its_exit_status(models, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"broken")
    arguments = [
        f"--checkpoint={models['lungs']},{models['heart']}",
        f"--input={folder}",
        f"--output={tmp_path / 'out'}",
    ]
    result = command(*arguments)
    assert result.returncode == 1, result.stderr
    assert "skipped: 1" in result.stdout
    assert "broken.png" in result.stderr
    result = command(*arguments)
    assert "10 files are there already" in result.stdout + result.stderr
    result = command(f"--input={folder}")
    assert "--mode=predict needs --output" in result.stdout + result.stderr
