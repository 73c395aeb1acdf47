import shutil
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders.image_files import DownloadError, File
from tfds_builders.jsrt import jsrt_dataset_builder as jsrt

IMG_SIDE, MASK_SIDE = 1024, 512
STEMS = ("JPCLN001", "JPCLN002", "JPCLN003", "JPCNN001", "JPCNN002")
RECTANGLES = {  # top, bottom, left, right, in pixels of 256; the patient's left is the image's right
    "left lung": (60, 200, 150, 230),
    "right lung": (60, 200, 30, 110),
    "left clavicle": (40, 50, 150, 200),
    "right clavicle": (40, 50, 60, 110),
    "heart": (120, 190, 100, 170),
}


@pytest.fixture(autouse=True)
def few_and_small(monkeypatch):
    for name, value in {
        "WITH_NODULE": 3,
        "WITHOUT_NODULE": 2,
        "IMG_SIDE": IMG_SIDE,
        "MASK_SIDE": MASK_SIDE,
    }.items():
        monkeypatch.setattr(jsrt, name, value)


@pytest.fixture
def manual(tmp_path):
    """Return a manual directory with five `.IMG` radiographs of levels 0 to 4 and their masks."""
    folder = tmp_path / "manual"
    (folder / "All247images").mkdir(parents=True)
    for level, stem in enumerate(STEMS):
        write_img(folder / f"All247images/{stem}.IMG", level)
        for structure in RECTANGLES:
            path = folder / jsrt.mask_path(stem, structure)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawing(structure, MASK_SIDE) * np.uint8(255)).save(path)
    return folder


def film(level):
    """Return a film's 12-bit values: dark (high) to the left."""
    row = np.repeat(4095 - np.arange(256) * 16 - level, IMG_SIDE // 256)
    return np.tile(row, (IMG_SIDE, 1))


def write_img(path, level):
    path.write_bytes(film(level).astype(">u2").tobytes())


def drawing(structure, side):
    mask = np.zeros((side, side), np.uint8)
    top, bottom, left, right = (edge * side // 256 for edge in RECTANGLES[structure])
    mask[top:bottom, left:right] = 1
    return mask


def prepare(manual, config="256"):
    builder = tfds.builder(f"jsrt/{config}", data_dir=manual.parent / "data")
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
    assert not tfds.builder("jsrt/256", data_dir=manual.parent / "data").is_prepared()


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


def assert_prepared(rows, size=256):
    assert sorted(rows) == sorted(STEMS)
    for level, stem in enumerate(STEMS):
        row = rows[stem]
        gradient = np.rint((np.arange(256) * 16 + level) * 255 / 4095).astype(np.uint8)
        expected = np.repeat(gradient, size // 256)[None, :, None]
        np.testing.assert_array_equal(row["image"], np.broadcast_to(expected, (size, size, 1)))
        for structure in RECTANGLES:
            mask = row[structure.replace(" ", "_")]
            assert mask.dtype == np.uint8
            np.testing.assert_array_equal(mask[..., 0], drawing(structure, size))
        assert row["nodule"] == stem.startswith("JPCLN")
        assert row["scr_fold"] == (1 if stem[-1] in "13" else 2)


def test_published_counts_and_sizes(monkeypatch):
    monkeypatch.undo()
    assert len(jsrt.stems()) == 247
    assert jsrt.stems()[153:155] == ["JPCLN154", "JPCNN001"]
    assert sum(jsrt.scr_fold(stem) == 1 for stem in jsrt.stems()) == 124
    ramp = np.arange(2048 * 2048).reshape(2048, 2048) % 4096
    image = jsrt.read_img(File("a.IMG", 2048 * 2048 * 2, ramp.astype(">u2").tobytes))
    assert image.shape == (2048, 2048)
    np.testing.assert_allclose(image, 255 - ramp * (255 / 4095), atol=1e-4)


@pytest.mark.parametrize(("config", "size"), [("256", 256), ("512", 512)])
def test_img_files_are_inverted(manual, config, size):
    before = contents(manual)
    assert_prepared(prepare(manual, config), size)
    assert contents(manual) == before


@pytest.mark.parametrize("deep", [False, True])
def test_png_copies(manual, deep):
    for level, stem in enumerate(STEMS):
        (manual / f"All247images/{stem}.IMG").unlink()
        pixels = (4095 - film(level)).astype(np.uint16)
        if not deep:
            pixels = np.rint(pixels * (255 / 4095)).astype(np.uint8)
        Image.fromarray(pixels).save(manual / f"All247images/{stem}.png")
    assert_prepared(prepare(manual))


def test_an_img_file_comes_before_its_png_copy(manual):
    for stem in STEMS:
        Image.fromarray(np.zeros((256, 256), np.uint8)).save(manual / f"All247images/{stem}.png")
    assert_prepared(prepare(manual))


@pytest.mark.parametrize("masks", ["zip", "gztar"])
def test_archives(manual, masks):
    packed = manual.parent / "packed"
    shutil.make_archive(str(packed / "All247images"), "zip", manual, "All247images")
    shutil.make_archive(str(packed / "scratch"), masks, manual, "scratch")
    shutil.rmtree(manual)
    assert_prepared(prepare(packed))
    assert sorted(path.suffix for path in packed.iterdir()) == sorted([".zip", f".{masks.removesuffix('tar')}"])


def test_the_manual_directory_is_asked_for(tmp_path):
    (tmp_path / "file").touch()
    for name in ("nowhere", "file"):
        with pytest.raises(FileNotFoundError, match=name):
            prepare(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"http://db\.jsrt\.or\.jp/eng\.php"):
        prepare(tmp_path / "empty")


def test_missing_and_unexpected_files_are_named(manual):
    (manual / "All247images/JPCLN002.IMG").unlink()
    assert_fails(manual, FileNotFoundError, r"expected 5 radiographs, found 4; 1 missing: JPCLN002\.\n")
    write_img(manual / "All247images/JPCLN002.IMG", 1)
    write_img(manual / "All247images/JPCLN004.IMG", 1)
    assert_fails(manual, FileNotFoundError, r"expected 5 radiographs, found 6; 1 unexpected: JPCLN004\.\n")
    (manual / "All247images/JPCLN004.IMG").unlink()
    (manual / "scratch/fold1/masks/heart/JPCLN003.gif").rename(manual / "scratch/fold2/masks/heart/JPCLN003.gif")
    assert_fails(
        manual,
        FileNotFoundError,
        "expected 25 masks, found 25; 1 missing: scratch/fold1/masks/heart/JPCLN003.gif; "
        r"1 unexpected: scratch/fold2/masks/heart/JPCLN003.gif\.\n",
    )
    shutil.rmtree(manual / "scratch")
    assert_fails(manual, FileNotFoundError, r"found 0; 25 missing: .*, \.\.\.\.\nThe manual directory must")


def test_damaged_radiographs_are_named(manual):
    last = manual / "All247images/JPCNN002.IMG"
    content = last.read_bytes()
    last.write_bytes(content[:-2])
    assert_fails(manual, DownloadError, r"JPCNN002\.IMG: expected 2097152 bytes.*found 2097150")
    last.write_bytes(content[1:] + content[:1])
    assert_fails(manual, DownloadError, r"JPCNN002\.IMG: expected values of 12 bits")
    last.unlink()
    copy = last.with_suffix(".png")
    Image.fromarray(np.zeros((30, 40), np.uint8)).save(copy)
    assert_fails(manual, DownloadError, r"JPCNN002\.png: expected a square image, found 40x30")
    copy.write_bytes(copy.read_bytes()[:-30])
    assert_fails(manual, DownloadError, r"JPCNN002\.png: not a readable image")


def test_damaged_masks_are_named(manual):
    path = manual / "scratch/fold2/masks/left clavicle/JPCNN002.gif"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert_fails(manual, DownloadError, r"left clavicle/JPCNN002\.gif: not a readable image")
    Image.fromarray(drawing("heart", 2 * MASK_SIDE)).save(path)
    assert_fails(manual, DownloadError, r"JPCNN002\.gif: expected a mask of 512x512 pixels, found 1024x1024")
    Image.fromarray(drawing("heart", MASK_SIDE) + drawing("left lung", MASK_SIDE)).save(path)
    assert_fails(manual, DownloadError, r"JPCNN002\.gif: expected a binary mask .*\[0, 1, 2\]")


def test_a_damaged_archive_is_named(manual):
    with tarfile.open(manual / "scratch.tar.gz", "w:gz") as archive:
        archive.add(manual / "scratch", "scratch")
    content = (manual / "scratch.tar.gz").read_bytes()
    (manual / "scratch.tar.gz").write_bytes(content[: len(content) // 2])
    assert_fails(manual, DownloadError, r"scratch\.tar\.gz: cannot be read as a tar\.gz")
