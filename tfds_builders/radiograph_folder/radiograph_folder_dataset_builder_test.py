import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tests.samples import dicom
from tfds_builders.image_files import DownloadError
from tfds_builders.radiograph_folder import folder as folders
from tfds_builders.radiograph_folder import radiograph_folder_dataset_builder as builders
from tfds_builders.radiograph_folder.folder import FolderError
from tfds_builders.radiograph_folder.radiograph_folder_dataset_builder import RadiographFolderConfig
from tfds_builders.radiograph_folder.squares import read_mask

STEMS = [f"r{number}" for number in range(5)]
SIZE = 64


@pytest.fixture
def folder(tmp_path):
    """Return a folder with five radiographs of 128x96 pixels and one mask of both lungs each."""
    root = tmp_path / "hospital"
    for stem in STEMS:
        save(root / f"images/{stem}.png", gradient())
        save(root / f"masks/lungs/{stem}.png", drawing())
    return root


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def gradient(top=255, kind=np.uint8):
    """Return levels from 0 to `top`, constant in blocks of two pixels."""
    return np.tile(np.linspace(0, top, 64).round().astype(kind).repeat(2)[:, None], (1, 96))


def drawing():
    mask = np.zeros((128, 96), np.uint8)
    mask[32:96, 24:72] = 255
    return mask


def prepare(folder, size=SIZE):
    config = RadiographFolderConfig(folder=folder, size=size)
    builder = tfds.builder("radiograph_folder", config=config, data_dir=folder.parent / "data")
    builder.download_and_prepare(file_format="array_record")
    return {row["id"].decode(): row for row in builder.as_data_source(split="train")}


def assert_refused(folder, *messages):
    with pytest.raises(FolderError) as caught:
        prepare(folder)
    for message in messages:
        assert message in str(caught.value)
    assert f"{len(messages)} fault" in str(caught.value)
    assert not [path for path in (folder.parent / "data").rglob("*") if "1.0.0" in path.name]


def test_images_and_masks_of_any_aspect_become_squares(folder):
    rows = prepare(folder)
    assert sorted(rows) == STEMS
    for row in rows.values():
        assert set(row) == {"id", "image", "lungs", "has_lungs"}
        assert row["has_lungs"]
        np.testing.assert_array_equal(row["image"][..., 0], np.tile(np.linspace(0, 255, 64).round()[:, None], (1, 64)))
        expected = np.zeros((64, 64), np.uint8)
        expected[16:48, 16:48] = 1
        np.testing.assert_array_equal(row["lungs"][..., 0], expected)


def test_patients_are_in_the_rows_where_they_are_known(folder):
    (folder / "patients.csv").write_text("image,patient\n" + "".join(f"{stem},p{stem}\n" for stem in STEMS))
    assert {row["patient"].decode() for row in prepare(folder).values()} == {f"pr{number}" for number in range(5)}


def test_rows_say_which_images_have_a_mask(folder):
    for stem in STEMS[1:]:
        (folder / f"masks/lungs/{stem}.png").unlink()
    rows = prepare(folder)
    assert [bool(rows[stem]["has_lungs"]) for stem in STEMS] == [True] + [False] * 4
    assert [bool(rows[stem]["lungs"].any()) for stem in STEMS] == [True] + [False] * 4


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("r0.tif", gradient()),
        ("r0.png", gradient(4095, np.uint16)),
        ("r0.tiff", gradient(9000, np.uint16)),
        ("r0.png", gradient(65535, np.uint16)),
        ("r0.png", np.stack([gradient()] * 3, axis=-1)),
        ("r0.tif", gradient(60000, np.int32)),
    ],
)
def test_depths_and_kinds_of_files(folder, name, pixels):
    (folder / "images/r0.png").unlink()
    save(folder / f"images/{name}", pixels)
    rows = prepare(folder)
    np.testing.assert_allclose(rows["r0"]["image"].astype(int), rows["r1"]["image"], atol=1)


def test_jpeg(folder):
    (folder / "images/r0.png").unlink()
    save(folder / "images/r0.JPG", gradient(), format="JPEG", quality=95)
    rows = prepare(folder)
    assert np.abs(rows["r0"]["image"].astype(int) - rows["r1"]["image"]).max() <= 6


def test_images_are_turned_as_viewers_show_them(folder):
    (folder / "images/r0.png").unlink()
    sideways = Image.fromarray(np.rot90(gradient()).copy())
    orientation = Image.Exif()
    orientation[0x0112] = 6  # to be turned clockwise
    sideways.save(folder / "images/r0.jpg", exif=orientation, quality=95)
    rows = prepare(folder)
    assert np.abs(rows["r0"]["image"].astype(int) - rows["r1"]["image"]).max() <= 6


def test_deep_tiffs_whose_white_is_zero_are_shown_as_viewers_show_them(folder):
    (folder / "images/r0.png").unlink()
    save(folder / "images/r0.tif", gradient(4000, np.uint16)[::-1].copy(), tiffinfo={262: 0})
    save(folder / "images/r2.png", gradient())
    rows = prepare(folder)
    np.testing.assert_allclose(rows["r0"]["image"].astype(int), rows["r1"]["image"], atol=1)


def test_folders_of_other_content_have_datasets_of_their_own(folder):
    first = prepare(folder)
    other = folder.with_name("clinic")
    for stem in STEMS:
        save(other / f"{stem}.png", 255 - gradient())
    second = prepare(other)
    assert set(second["r0"]) == {"id", "image"}
    np.testing.assert_array_equal(second["r0"]["image"], 255 - first["r0"]["image"])
    assert prepare(folder)["r0"]["image"][0, 0] == 0
    assert len(list((folder.parent / "data/radiograph_folder").iterdir())) == 2


def test_a_folder_that_changed_is_prepared_anew_and_one_that_moved_is_not(folder, monkeypatch):
    prepare(folder)
    save(folder / "images/r0.png", 255 - gradient())
    assert prepare(folder)["r0"]["image"][0, 0] == 255
    save(folder / "images/r5.png", gradient())
    save(folder / "masks/lungs/r5.png", drawing())
    assert len(prepare(folder)) == 6
    assert prepare(folder, 32)["r0"]["image"].shape == (32, 32, 1)
    monkeypatch.setattr(builders, "read_radiograph", None)
    assert len(prepare(folder.rename(folder.with_name("moved")))) == 6


def test_faults_of_content_are_told_all_at_once(folder):
    cut = folder / "images/r0.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    save(folder / "images/r1.png", np.full((128, 96), 7, np.uint8))
    save(folder / "images/r2.png", gradient()[:20])
    save(folder / "masks/lungs/r3.png", drawing()[1:])
    save(folder / "masks/lungs/r4.png", drawing() - np.uint8(3) * (gradient() > 99))
    assert_refused(
        folder,
        "images/r0.png: not a readable radiograph",
        "images/r1.png: expected a radiograph, found 96x128 pixels of 7 to 7",
        "images/r2.png: expected a radiograph, found 96x20 pixels",
        "masks/lungs/r3.png: expected a mask of 96x128 pixels, found 96x127, which are not its radiograph's",
        "masks/lungs/r4.png: expected a binary mask (0 and one other value), found the values [0, 252, 253, 255]",
    )


def test_faults_of_structures_are_told_for_each(folder):
    for stem in STEMS:
        save(folder / f"masks/heart/{stem}.png", drawing() * 0)
    save(folder / "masks/heart/r1.png", drawing()[:, 1:])
    save(folder / "masks/lungs/r1.png", drawing()[:, 2:])
    assert_refused(folder, "masks/heart/r1.png: expected a mask of", "masks/lungs/r1.png: expected a mask of")
    save(folder / "masks/heart/r1.png", drawing() * 0)
    save(folder / "masks/lungs/r1.png", drawing() * 0)
    assert_refused(folder, "masks/heart: every mask is blank")


def test_files_that_are_no_single_grey_picture(folder):
    pages = [Image.fromarray(gradient()), Image.fromarray(gradient())]
    for stem in ("r0", "r1"):
        (folder / f"images/{stem}.png").unlink()
    pages[0].save(folder / "images/r0.tif", save_all=True, append_images=pages[1:])
    save(folder / "images/r1.tif", gradient().astype(np.float32))
    save(folder / "images/r2.png", gradient())
    (folder / "images/r3.png").write_bytes(b"GIF89a")
    (folder / "images/r4.png").unlink()
    (folder / "images/r4.dcm").write_bytes(dicom(ViewPosition="LATERAL"))
    assert_refused(
        folder,
        "images/r0.tif: not a readable radiograph (expected one image, found several frames or pages)",
        "images/r1.tif: not a readable radiograph (its pixels are no whole numbers)",
        "images/r3.png: not a readable radiograph (cannot identify image file",
        "images/r4.dcm: not a readable radiograph (expected a frontal view, found a lateral one (ViewPosition LATERAL)",
    )


def test_dicom_files_are_images_too_and_say_whose_they_are(folder):
    deep = gradient(60000, np.uint16)
    for number, stem in enumerate(STEMS):
        (folder / f"images/{stem}.png").unlink()
        (folder / f"images/{stem}.dcm").write_bytes(dicom(deep, PatientID=f"A{number}"))
    (folder / "images/r1.dcm").rename(folder / "images/r1")
    (folder / "images/r2.dcm").write_bytes(dicom(deep, PatientID="A2", PhotometricInterpretation="MONOCHROME1"))
    (folder / "images/r3.dcm").write_bytes(dicom(deep, PatientID="A3", RescaleSlope=1, RescaleIntercept=-30000))
    (folder / "images/DICOMDIR").write_bytes(dicom())
    rows = prepare(folder)
    assert {stem: row["patient"].decode() for stem, row in rows.items()} == {f"r{n}": f"A{n}" for n in range(5)}
    plain = rows["r0"]["image"].astype(int)
    assert (plain.min(), plain.max()) == (0, 255)
    for stem, expected in (("r1", plain), ("r2", 255 - plain), ("r3", plain)):
        np.testing.assert_allclose(rows[stem]["image"], expected, atol=1)


def test_bombs_are_not_decoded(folder):
    Image.new("1", (9000, 8000)).save(folder / "images/r2.png")
    assert_refused(
        folder, "images/r2.png: not a readable radiograph (expected at most 64000000 pixels, found 9000x8000)"
    )


def crash(file, *arguments):
    if "r0" in file.name:
        os.abort()
    return read_mask(file, *arguments)


def test_a_file_that_crashes_its_decoder_is_a_fault(folder, monkeypatch):
    monkeypatch.setattr(builders, "read_mask", crash)
    assert_refused(folder, "masks/lungs/r0.png: its decoder crashed")


def test_a_file_that_crashes_the_search_for_its_patient_is_a_fault(folder, monkeypatch):
    for stem in STEMS:
        (folder / f"images/{stem}.png").unlink()
        (folder / f"images/{stem}.dcm").write_bytes(dicom(PatientID=stem))
    monkeypatch.setattr(folders, "read_patient", crash)
    assert_refused(folder, "images/r0.dcm: its decoder crashed")


def test_a_file_that_cannot_be_opened_is_named(folder, monkeypatch):
    config = RadiographFolderConfig(folder=folder)
    image = config.contents.images["r0"]
    (folder / "images/r0.png").unlink()
    with pytest.raises(DownloadError, match=r"images/r0\.png: cannot be read .*No such file.*; replace it"):
        builders.read_radiograph(image, SIZE)


def test_it_must_be_told_which_folder():
    with pytest.raises(ValueError, match=r'needs to know which: config=RadiographFolderConfig\(folder="..."\)'):
        tfds.builder("radiograph_folder")
