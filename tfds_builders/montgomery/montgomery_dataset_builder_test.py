import shutil
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders.image_files import DownloadError
from tfds_builders.montgomery import montgomery_dataset_builder as montgomery

STEMS = ("MCUCXR_0001_0", "MCUCXR_0017_0", "MCUCXR_0104_1")
COLUMNS = {
    "left": slice(150, 230),
    "right": slice(30, 110),
}  # of 256; the patient's left is the image's right
HIGH, WIDE = 512, 768  # of the published images' two orientations, one


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(montgomery, "NORMAL", 2)
    monkeypatch.setattr(montgomery, "TUBERCULOSIS", 1)


@pytest.fixture
def manual(tmp_path):
    """Return a manual directory with three radiographs, 12 bits deep and not square, and their masks."""
    folder = tmp_path / "manual"
    for level, stem in enumerate(STEMS):
        save(folder / f"MontgomerySet/CXR_png/{stem}.png", radiograph(level))
        for side in COLUMNS:
            save(folder / montgomery.mask_path(stem, side), stretched(drawing(side)) * np.uint8(255))
    return folder


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def stretched(square):
    return square.repeat(HIGH // 256, axis=0).repeat(WIDE // 256, axis=1)


def radiograph(level):
    return stretched(np.tile(np.arange(256) * 16 + level, (256, 1))).astype(np.uint16)


def drawing(side):
    mask = np.zeros((256, 256), np.uint8)
    mask[60:200, COLUMNS[side]] = 1
    return mask


def prepare(manual, config="256"):
    builder = tfds.builder(f"montgomery/{config}", data_dir=manual.parent / "data")
    builder.download_and_prepare(
        file_format="array_record", download_config=tfds.download.DownloadConfig(manual_dir=manual)
    )
    return {row["id"].decode(): row for row in builder.as_data_source(split="train")}


def assert_fails(manual, error, message):
    before = contents(manual)
    with pytest.raises(error, match=message):
        prepare(manual)
    assert contents(manual) == before
    assert not [path for path in (manual.parent / "data").rglob("*") if "1.0.0" in path.name]
    assert not tfds.builder("montgomery/256", data_dir=manual.parent / "data").is_prepared()


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def assert_prepared(rows):
    assert sorted(rows) == sorted(STEMS)
    for level, stem in enumerate(STEMS):
        row = rows[stem]
        gradient = np.rint((np.arange(256) * 16 + level) * 255 / 4095).astype(np.uint8)
        np.testing.assert_array_equal(row["image"][..., 0], np.tile(gradient, (256, 1)))
        for side in COLUMNS:
            assert row[f"{side}_lung"].dtype == np.uint8
            np.testing.assert_array_equal(row[f"{side}_lung"][..., 0], drawing(side))
        assert row["tuberculosis"] == stem.endswith("_1")


def test_published_counts(monkeypatch):
    monkeypatch.undo()
    assert (montgomery.NORMAL, montgomery.TUBERCULOSIS) == (80, 58)


def test_deep_images_of_any_aspect(manual):
    before = contents(manual)
    assert_prepared(prepare(manual))
    assert contents(manual) == before


def test_eight_bit_copies_of_the_prepared_size(manual):
    for level, stem in enumerate(STEMS):
        small = radiograph(level)[:: HIGH // 256, :: WIDE // 256]
        save(manual / f"MontgomerySet/CXR_png/{stem}.png", np.rint(small * (255 / 4095)).astype(np.uint8))
        for side in COLUMNS:
            save(manual / montgomery.mask_path(stem, side), drawing(side) * np.uint8(255))
    assert_prepared(prepare(manual))
    large = prepare(manual, "512")["MCUCXR_0001_0"]
    assert large["image"].shape == large["left_lung"].shape == (512, 512, 1)
    assert set(np.unique(large["left_lung"])) == {0, 1}


def test_the_published_zip(manual):
    packed = manual.parent / "packed"
    shutil.make_archive(str(packed / "NLM-MontgomeryCXRSet"), "zip", manual)
    with zipfile.ZipFile(packed / "NLM-MontgomeryCXRSet.zip", "a") as archive:
        archive.writestr("__MACOSX/MontgomerySet/CXR_png/MCUCXR_0001_0.png", b"noise")
        archive.writestr("MontgomerySet/CXR_png/._MCUCXR_0001_0.png", b"noise")
        archive.writestr("MontgomerySet/CXR_png/Thumbs.db", b"noise")
        archive.writestr("MontgomerySet/ClinicalReadings/MCUCXR_0001_0.txt", b"Patient's Sex: F")
    shutil.rmtree(manual)
    assert_prepared(prepare(packed))
    assert [path.name for path in packed.iterdir()] == ["NLM-MontgomeryCXRSet.zip"]


def test_the_manual_directory_is_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"NLM-MontgomeryCXRSet\.zip"):
        prepare(tmp_path / "nowhere")


def test_missing_files_are_named(manual):
    last = manual / "MontgomerySet/CXR_png/MCUCXR_0104_1.png"
    last.rename(last.with_stem("MCUCXR_0104_0"))
    assert_fails(manual, FileNotFoundError, r"expected 3 radiographs .*found 3 \(3 normal, 0 with tuberculosis\)")
    last.with_stem("MCUCXR_0104_0").rename(last)
    (manual / "MontgomerySet/ManualMask/rightMask/MCUCXR_0017_0.png").unlink()
    assert_fails(
        manual,
        FileNotFoundError,
        r"expected 6 masks, found 5; 1 missing: MontgomerySet/ManualMask/rightMask/MCUCXR_0017_0\.png\.\n",
    )


def test_damaged_files_are_named(manual):
    mask = manual / "MontgomerySet/ManualMask/leftMask/MCUCXR_0104_1.png"
    save(mask, drawing("left"))
    assert_fails(manual, DownloadError, r"leftMask.*0104_1\.png: expected a mask of 768x512 pixels, found 256x256")
    save(mask, stretched(drawing("left") + 2 * drawing("right")))
    assert_fails(manual, DownloadError, r"leftMask.*0104_1\.png: expected a binary mask")
    image = manual / "MontgomerySet/CXR_png/MCUCXR_0104_1.png"
    image.write_bytes(image.read_bytes()[:-40])
    assert_fails(manual, DownloadError, r"CXR_png.*0104_1\.png: not a readable image")
