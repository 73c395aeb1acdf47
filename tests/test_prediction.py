"""Folders of radiographs to masks, overlays and measurements, with models trained for the test."""

import csv
import dataclasses
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
import warnings
import weakref
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from cxr_jax import (
    checkpoints,
    experiment,
    exported,
    inference,
    inputs,
    inversion,
    mask_files,
    prediction,
    prediction_table,
    provenance,
    reading,
    runs,
)
from cxr_jax.data import prepared
from cxr_jax.data.look import Look
from tests import tiny
from tests.samples import DEEP, dicom
from tfds_builders.radiograph_files import Radiograph

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
    images = prepared.load("phantom/a", "lungs", Look(128), tfds_dir).images[:3, ..., 0]
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
    stems = {"x.png": (128, 100), "x.dcm": (90, 128), "more/y": (128, 128)}
    assert written(output) == {f"{s}_{kind}.png" for s in stems for kind in ("lungs", "heart", "overlay")} | {
        prediction.TABLE,
        "measurements.json",
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
    expected = {organ: next(inference.restore(models[organ]).find([image], tidy=True)) for organ in models}
    for organ, found in expected.items():
        assert float(row[f"{organ}_expected_jaccard"]) == pytest.approx(found.expected_jaccard, rel=1e-3)
        assert 0 < found.expected_jaccard < 100
        assert row[f"{organ}_plausible"] == ("yes" if found.plausible else "no")
    assert row["clavicles_expected_jaccard"] == row["clavicles_plausible"] == ""
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
    with pytest.raises(prediction.PredictionError, match="8 files are there already"):
        prediction.predict(lungs, folder, output)
    before = written(output)
    prediction.predict(lungs, folder, output, overwrite=True)
    assert written(output) == before


def test_a_bad_file_is_named_and_skipped(models, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    Image.fromarray(np.full((50, 60), 7, np.uint8)).save(folder / "blank.png")
    (folder / "lateral.dcm").write_bytes(dicom(ViewPosition="LL"))
    output = tmp_path / "out"
    assert prediction.predict([models["lungs"]], folder, output) == 3
    rows = table(output)
    assert rows["blank.png"]["status"] == "blank.png: expected a radiograph, found 60x50 pixels of 7 to 7"
    assert "not a readable radiograph" in rows["broken.png"]["status"]
    assert "expected a frontal view, found a lateral one (ViewPosition LL)" in rows["lateral.dcm"]["status"]
    assert [row["status"] for row in rows.values()].count("ok") == 3


def test_masks_that_are_not_plausible_are_named(models, folder, tmp_path, caplog, monkeypatch):
    restore = inference.restore

    def elsewhere(path):  # of which every mask is a stripe at the left edge
        model = restore(path)
        stripe = np.zeros((1, 32, 32, 1), np.float32)
        stripe[:, :, :2] = 1
        return dataclasses.replace(model, soften=lambda images: np.repeat(stripe, len(images), axis=0))

    monkeypatch.setattr(inference, "restore", elsewhere)
    prediction.predict([models["heart"]], folder, tmp_path / "out")
    assert {row["heart_plausible"] for row in table(tmp_path / "out").values()} == {"no"}
    assert "heart: 3 of 3 masks are most likely wrong, the first that of more/y.tif" in caplog.text


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
    found = highdicom.seg.segread(output / "more/y.dcm_lungs.dcm")
    algorithm = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert f"weights {inference.restore(models['lungs']).fingerprint}, code " in algorithm.AlgorithmVersion
    assert (found.PatientID, found.StudyInstanceUID) == ("A17", uids["StudyInstanceUID"])
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == uids["SeriesInstanceUID"]
    expected = inference.restore(models["lungs"])(pixels.astype(np.float32), tidy=True)
    np.testing.assert_array_equal(found.pixel_array.reshape(pixels.shape) > 0, expected)
    assert expected.any()
    status = {name: row["status"] for name, row in table(output).items()}
    assert status["more/y.dcm"] == "ok"
    assert "--mask_format=dicom_seg cannot hold its masks" in status["x.png"]
    assert "found none of StudyInstanceUID" in status["x.dcm"]


def segmentation(path: Path, **tags) -> pydicom.Dataset:
    """Return the DICOM Segmentation of a DICOM file of these tags, read back from its bytes."""
    pytest.importorskip("highdicom")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, on odd values
        uids = {name: generate_uid() for name in ("StudyInstanceUID", "SeriesInstanceUID")}
        path.write_bytes(dicom(**uids | tags))
        content = mask_files.FORMATS["dicom_seg"].encode(DEEP > 30000, "lungs", reading.read(path), path, "0")
    return pydicom.dcmread(io.BytesIO(content))


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO_IR 192", "山田^太郎"),
        ("ISO IR 100", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("GB18030", "王^小东"),
        ("", "Miller^Joe"),
        (None, "Miller^Joe"),
    ],
)
def test_dicom_segmentations_keep_names_of_any_characters(tmp_path, characters, name):
    remarks = [pydicom.Dataset()]
    remarks[0].CodeMeaning = name.split("=")[-1]
    tags = {"StudyDescription": remarks[0].CodeMeaning, "DeidentificationMethodCodeSequence": remarks}
    found = segmentation(tmp_path / "a", SpecificCharacterSet=characters, PatientName=name, **tags)
    assert found.SpecificCharacterSet == "ISO_IR 192"
    assert found.PatientName == name
    assert found.StudyDescription == remarks[0].CodeMeaning
    assert found.DeidentificationMethodCodeSequence[0].CodeMeaning == remarks[0].CodeMeaning


def test_dicom_segmentations_repeat_whose_and_of_which_trial_a_radiograph_is(tmp_path):
    told = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "by hand", "IssuerOfPatientID": "a hospital"} | {
        f"ClinicalTrial{name}": name for name in ("SubjectID", "SponsorName", "ProtocolID")
    }
    found = segmentation(tmp_path / "a", **told)
    assert {name: found.get(name) for name in told} == told


@pytest.mark.parametrize(
    ("commit", "told"),
    [("0123456789" * 4, "012345678901"), ("0123456789" * 4 + "-dirty", "012345678901-dirty"), ("unknown", "unknown")],
)
def test_dicom_segmentations_tell_by_what_code_they_were_made(tmp_path, monkeypatch, commit, told):
    monkeypatch.setattr(provenance, "here", lambda: {"commit": commit})
    monkeypatch.setattr(provenance, "commit", lambda: pytest.fail("it may change while masks are written"))
    found = segmentation(tmp_path / "a")
    (algorithm,) = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == f"weights 0, code {told}"
    assert found.SoftwareVersions == commit


def test_dicom_segmentations_are_also_of_files_without_their_mark(tmp_path, monkeypatch):
    whole = dicom
    monkeypatch.setattr(sys.modules[__name__], "dicom", lambda **tags: whole(**tags)[132:])
    found = segmentation(tmp_path / "a.dcm", PatientID="A17")
    assert found.PatientID == "A17"


@pytest.mark.parametrize("modality", [None, ""])
def test_dicom_segmentations_are_also_of_files_that_do_not_say_their_modality(tmp_path, modality):
    found = segmentation(tmp_path / "a", Modality=modality)
    assert (found.Modality, found.ContentLabel) == ("SEG", "OT_SEG")


def test_the_table_holds_nothing_that_a_spreadsheet_or_a_terminal_obeys(models, folder, tmp_path):
    (folder / "x.png").rename(folder / "=1+1\x1b[2J.png")
    prediction.predict([models["lungs"]], folder, tmp_path / "out")
    assert "./=1+1\\x1b[2J.png" in table(tmp_path / "out")


def found(source: Path, output: Path) -> set[str]:
    return {item.name for item in inputs.find(source, output)[0]}


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (("b.png", "c.PNG"), ("b", "c")),
        (("b.png", "b.dcm", "b_png.tif"), ("b.png", "b.dcm", "b_png")),
        (("b.png", "b.dcm", "b.png.tif"), ("b.png", "b.dcm", "b.png.tif")),
        (("s.1.png", "s.1.dcm", "s_1.png", "s_1.dcm"), ("s.1.png", "s.1.dcm", "s_1.png", "s_1.dcm")),
        (("1.2.3", "1.2.4"), ("1.2.3", "1.2.4")),
        (("1.2.3", "1.2.3.dcm"), ("1.2.3", "1.2.3.dcm")),
    ],
)
def test_what_is_written_for_files_has_names_that_differ(tmp_path, names, stems):
    for name in names:
        (tmp_path / name).write_bytes(dicom())
    found, _ = inputs.find(tmp_path, tmp_path / "out")
    assert {item.name: item.stem for item in found} == {
        name: tmp_path / "out" / stem for name, stem in zip(names, stems, strict=True)
    }


@pytest.mark.parametrize(("names", "stems"), [(("A.png", "a.dcm"), {"A.png", "a.dcm"}), (("A.png", "a.png"), None)])
def test_names_differ_in_more_than_capitals(tmp_path, names, stems):
    paths = [tmp_path / name for name in names]
    if stems is None:
        with pytest.raises(inputs.InputError, match=r"differ in more than capitals, found A\.png, a\.png: rename some"):
            inputs.named(paths, tmp_path, tmp_path / "out")
    else:
        assert {item.stem.name for item in inputs.named(paths, tmp_path, tmp_path / "out")} == stems


def test_a_name_that_is_a_number_is_kept_whole(tmp_path):
    (tmp_path / "1.2.3").write_bytes(dicom())
    ((item,), _) = inputs.find(tmp_path / "1.2.3", tmp_path / "out")
    assert item.stem == tmp_path / "out" / "1.2.3"


def test_what_lies_beside_radiographs_on_a_medium_is_passed_over(folder, tmp_path):
    for name in ("DICOMDIR", "._x.png", "__MACOSX/._x.png", ".thumbnails/x.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(dicom())
    os.mkfifo(folder / "pipe.png")
    assert inputs.find(folder, tmp_path / "out")[1] == {}
    assert found(folder, tmp_path / "out") == {"x.png", "x.dcm", "more/y.tif"}


def test_links_do_not_lead_out_of_a_folder_nor_round_in_it(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    Image.new("L", (64, 64)).save(other / "secret.png")
    (folder / "away").symlink_to(other)
    (folder / "round").symlink_to(folder)
    (folder / "itself").symlink_to(folder / "itself")
    (folder / "link.png").symlink_to(other / "secret.png")
    (folder / "notes").symlink_to(folder / "notes.txt")
    (tmp_path / "out").mkdir()
    (folder / "masks").symlink_to(tmp_path / "out")
    assert found(folder, tmp_path / "out") == {"x.png", "x.dcm", "more/y.tif"}
    unreachable = inputs.find(folder, tmp_path / "out")[1]
    assert set(unreachable) == {"away", "link.png"}
    assert "found a link out of it" in unreachable["away"]


def test_what_is_out_of_reach_has_a_line(models, folder, tmp_path, monkeypatch):
    (folder / "closed").mkdir()
    (folder / "nothing.png").symlink_to(folder / "gone.png")
    scandir = os.scandir

    def guarded(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert prediction.predict([models["lungs"]], folder, tmp_path / "out") == 2
    rows = table(tmp_path / "out")
    assert "can be listed, found otherwise (Permission denied)" in rows["closed"]["status"]
    assert "nothing.png: cannot be read (No such file or directory)" in rows["nothing.png"]["status"]


def test_what_cannot_be_written_for_one_file_does_not_keep_the_others(models, folder, tmp_path, monkeypatch):
    Image.linear_gradient("L").resize((34000, 150)).save(folder / "wide.png")
    (folder / "more/y.tif").rename(folder / f"{'y' * 236}.tif")
    write = mask_files.files.write

    def full(path, content):
        if path.name == "x.dcm_overlay.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(mask_files.files, "write", full)
    output = tmp_path / "out"
    assert prediction.predict([models["lungs"]], folder, output, mask_format="nifti") == 3
    status = {name: row["status"] for name, row in table(output).items()}
    assert "expected at most 32767 pixels a side, found 34000x150" in status["wide.png"]
    assert "No space left on device" in status["x.dcm"]
    assert "File name too long" in status[f"{'y' * 236}.tif"]
    assert status["x.png"] == "ok"
    assert not (output / "x.dcm_lungs.nii.gz").exists()


def test_what_was_written_before_is_no_radiograph(models, folder):
    for output in (folder / "out1", folder / "more" / "out2"):
        assert prediction.predict([models["lungs"]], folder, output) == 0
        assert set(table(output)) == {"x.png", "x.dcm", "more/y.tif"}
    with pytest.raises(inputs.InputError, match=r"holds no radiograph: .* no measurements\.csv, which marks masks"):
        inputs.find(folder / "out1", folder / "out3")


def test_a_full_disk_leaves_what_was_there_before(tmp_path, monkeypatch):
    (tmp_path / "x_lungs.png").write_bytes(b"old")

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(mask_files.files, "write", full)
    radiograph, mask = Radiograph(np.zeros((40, 40))), np.ones((40, 40), bool)
    with pytest.raises(mask_files.MaskError, match="No space left on device"):
        mask_files.write(tmp_path / "x", {"lungs": mask}, radiograph, tmp_path / "x.png", "png", {"lungs": "0"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"x_lungs.png": b"old"}


def test_what_is_held_at_once_is_bounded_by_pixels(models, tmp_path, monkeypatch):
    alive = weakref.WeakSet()
    most = []

    class Pixels(np.ndarray):
        """Can be hashed, as a set of weak references needs."""

        __hash__ = object.__hash__

    for index in range(7):
        Image.linear_gradient("L").resize((40, 40)).save(tmp_path / f"{index}.png")

    def read(self, path):
        most.append(len(alive))
        pixels = reading.read(path).pixels.view(Pixels)
        alive.add(pixels)
        return Radiograph(pixels)

    monkeypatch.setattr(prediction.IsolatedReader, "read", read)
    monkeypatch.setattr(prediction, "PIXELS", 3 * 1600)
    assert prediction.predict([models["lungs"]], tmp_path, tmp_path / "out") == 0
    assert most == [0, 1, 2, 0, 1, 2, 0]


def test_what_cannot_start_is_refused(models, folder, tmp_path):
    lungs = models["lungs"]
    for source, output, message in (
        (tmp_path / "none", folder, r"expected as --input .*\(No such file"),
        (tmp_path, folder, "holds no radiograph"),
        (folder, folder, "expected as --output a folder beside"),
        (folder / "more", folder, "expected as --output a folder beside"),
    ):
        with pytest.raises(inputs.InputError, match=message):
            inputs.find(source, output)
    for output in (folder / "x.png", folder / "x.png" / "out"):
        with pytest.raises(prediction.PredictionError, match="expected as --output a folder to write to"):
            prediction.predict([lungs], folder, output)
        with pytest.raises(exported.ExportError, match="expected as --output a folder to write to"):
            exported.write([lungs], output)
    with pytest.raises(checkpoints.CheckpointError, match="draws lungs, as another checkpoint does"):
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
    assert "11 files are there already" in result.stdout + result.stderr
    result = command(f"--input={folder}")
    assert "--mode=predict needs --output" in result.stdout + result.stderr


@pytest.mark.parametrize(("most", "expected"), [(8, [3]), (2, [2, 2])])
def test_as_many_are_predicted_at_once_as_there_are(models, folder, tmp_path, monkeypatch, most, expected):
    sizes = []
    restored = inference.restore(models["lungs"])
    counting = dataclasses.replace(restored, soften=lambda images: sizes.append(len(images)) or restored.soften(images))
    monkeypatch.setattr(prediction, "TOGETHER", most)
    monkeypatch.setattr(inversion, "SURE", 0.0)  # so that nothing is looked at twice
    monkeypatch.setattr(inference, "restore_all", lambda directories: {"lungs": counting})
    assert prediction.predict([models["lungs"]], folder, tmp_path / "out") == 0
    assert sizes == expected
    assert prediction.predict([models["lungs"]], folder / "x.png", tmp_path / "one") == 0
    assert sizes == [*expected, 1]


def test_what_was_stopped_goes_on_and_ends_as_if_it_had_not_been(models, folder, tmp_path, monkeypatch):
    lungs, output = [models["lungs"]], tmp_path / "out"
    monkeypatch.setattr(prediction, "TOGETHER", 1)
    draw, calls = prediction._draw, []

    def stopping(chunk, *rest):
        if calls:
            raise KeyboardInterrupt
        calls.append(chunk[0][0].name)
        draw(chunk, *rest)

    monkeypatch.setattr(prediction, "_draw", stopping)
    with pytest.raises(KeyboardInterrupt):
        prediction.predict(lungs, folder, output)
    assert {name: row["status"] for name, row in table(output).items()} == {calls[0]: "ok"}
    with pytest.raises(prediction.PredictionError, match="or --resume to go on"):
        prediction.predict(lungs, folder, output)
    drawn = []
    monkeypatch.setattr(prediction, "_draw", lambda chunk, *rest: (drawn.append(chunk[0][0].name), draw(chunk, *rest)))
    assert prediction.predict(lungs, folder, output, resume=True) == 0
    assert sorted([*calls, *drawn]) == ["more/y.tif", "x.dcm", "x.png"]
    assert prediction.predict(lungs, folder, tmp_path / "whole", resume=True) == 0  # nothing is there to go on with
    assert (output / prediction.TABLE).read_text() == (tmp_path / "whole" / prediction.TABLE).read_text()
    assert written(output) == written(tmp_path / "whole")
    with pytest.raises(prediction.PredictionError, match=r"were made otherwise \(mask_format\): expected those of the"):
        prediction.predict(lungs, folder, output, resume=True, mask_format="nifti")
    with pytest.raises(prediction.PredictionError, match=r"were made otherwise \(model of heart, organs\)"):
        prediction.predict([models["heart"]], folder, output, resume=True)
    with pytest.raises(prediction.PredictionError, match=r"were made otherwise \(input\)"):
        prediction.predict(lungs, folder / "more", output, resume=True)


def test_what_is_gone_or_was_replaced_since_is_made_again(models, folder, tmp_path):
    lungs, output = [models["lungs"]], tmp_path / "out"
    prediction.predict(lungs, folder, output)
    before = {name: (output / name).read_bytes() for name in written(output) if name.endswith("lungs.png")}
    (output / "x.dcm_lungs.png").unlink()
    Image.fromarray(np.asarray(Image.open(folder / "more/y.tif"))[:, ::-1]).save(folder / "more/y.tif")
    os.utime(folder / "more/y.tif", (time.time() + 60,) * 2)
    os.utime(output / "x.png_lungs.png", (time.time() + 120,) * 2)
    assert prediction.predict(lungs, folder, output, resume=True) == 0
    after = {name: (output / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"more/y_lungs.png"}
    assert (output / "x.png_lungs.png").stat().st_mtime > time.time() + 60  # it was left alone


def test_a_table_that_somebody_else_wrote_is_not_gone_on_with(models, folder, tmp_path):
    output = tmp_path / "out"
    prediction.predict([models["lungs"]], folder, output)
    path = output / prediction.TABLE
    path.write_text(path.read_text().replace(",", ";"))
    with pytest.raises(
        prediction.PredictionError, match=r"the measurements.csv and measurements.json of the run to go"
    ):
        prediction.predict([models["lungs"]], folder, output, resume=True)


def test_the_table_is_kept_on_the_way(models, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(prediction_table, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(prediction, "TOGETHER", 1)
    draw, lines = prediction._draw, []

    def counting(*arguments):
        draw(*arguments)
        lines.append(len(table(tmp_path / "out")))

    monkeypatch.setattr(prediction, "_draw", counting)
    prediction.predict([models["lungs"]], folder, tmp_path / "out")
    assert lines == [1, 2, 3]


def test_a_file_that_fails_now_leaves_no_masks_of_what_it_was(models, folder, tmp_path):
    lungs, output = [models["lungs"]], tmp_path / "out"
    prediction.predict(lungs, folder, output)
    (folder / "x.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert prediction.predict(lungs, folder, output, overwrite=True) == 1
    assert {name for name in written(output) if name.startswith("x.png")} == set()
    assert "x.dcm_lungs.png" in written(output)


def test_what_made_masks_is_told_beside_them(models, folder, tmp_path):
    prediction.predict(list(models.values()), folder / "x.png", tmp_path, tidy=False)
    about = json.loads((tmp_path / "measurements.json").read_text())
    assert (about["tidy"], about["mask_format"], sorted(about["models"])) == (False, "png", ["heart", "lungs"])
    weights = {organ: model["weights"] for organ, model in about["models"].items()}
    assert weights == {organ: inference.restore(models[organ]).fingerprint for organ in models}
    assert len(set(weights.values())) == 2
    assert about["models"]["lungs"]["trained"]["commit"] == about["made"]["commit"]


def test_files_and_folders_that_are_passed_over_are_told(folder, tmp_path, caplog):
    (folder / "more" / inputs.TABLE).write_text("mine")
    assert found(folder, tmp_path / "out") == {"x.png", "x.dcm"}
    assert f"{folder / 'more'} is passed over, and what is below it: its measurements.csv marks masks" in caplog.text
    assert f"1 files are no radiographs and passed over, the first {folder / 'notes.txt'}" in caplog.text


def test_a_command_that_is_terminated_keeps_its_table(models, folder, tmp_path):
    for number in range(400):
        os.link(folder / "more/y.tif", folder / f"{number}.tif")
    output = tmp_path / "out"
    flags = ["--mode=predict", f"--checkpoint={models['lungs']}", f"--input={folder}", f"--output={output}"]
    process = subprocess.Popen([sys.executable, "main.py", *flags], cwd=ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(output.glob("*_overlay.png")):
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 128 + signal.SIGTERM
    rows = table(output)
    assert 0 < len(rows) < 403
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert {f"{Path(name).stem}_lungs.png" for name in rows if "/" not in name and "x." not in name} <= written(output)
