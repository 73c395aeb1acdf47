import shutil

import numpy as np
import pytest

from tests.hospitals import LEFT, RIGHT, STEMS, assert_refused, drawing, gradient, make, save, write_patients
from tfds_builders.radiograph_folder import folder as folders
from tfds_builders.radiograph_folder.folder import FolderError


@pytest.fixture
def folder(tmp_path):
    """Return a folder with six radiographs, their masks of both lungs, and whose they are."""
    return make(tmp_path / "hospital")


def test_all_parts_are_found(folder):
    contents = folders.read(folder)
    assert list(contents.images) == STEMS
    assert {name: list(masks) for name, masks in contents.masks.items()} == {"left_lung": STEMS, "right_lung": STEMS}
    assert contents.patients == {stem: stem for stem in STEMS}
    assert contents.images[STEMS[0]].read() == (folder / f"images/{STEMS[0]}.png").read_bytes()
    assert str(contents) == f"{folder}: 6 images, masks of left_lung (6), right_lung (6), 6 patients"


def test_images_may_lie_in_the_folder_itself_and_below_it(folder):
    whole = folders.read(folder).checksum()
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        below = folder / f"ward {number % 2}" / path.name
        below.parent.mkdir(exist_ok=True)
        path.rename(below)
    (folder / "images").rmdir()
    assert folders.read(folder).checksum() == whole
    shutil.rmtree(folder / "masks")
    (folder / "patients.csv").unlink()
    contents = folders.read(folder)
    assert (list(contents.images), contents.masks, contents.patients) == (STEMS, {}, None)


def test_what_systems_leave_behind_and_notes_are_passed_over(folder):
    before = folders.read(folder).checksum()
    for name in (".DS_Store", "._patient_00.png", "Thumbs.db", "README.txt", "__MACOSX/x.png", ".cache/y.png"):
        (folder / "images" / name).parent.mkdir(exist_ok=True)
        (folder / "images" / name).write_bytes(b"noise")
    (folder / "masks/.DS_Store").write_bytes(b"noise")
    assert folders.read(folder).checksum() == before


def test_suffixes_in_any_case(folder):
    path = folder / f"images/{STEMS[0]}.png"
    path.rename(path.with_suffix(".PNG"))
    assert list(folders.read(folder).images) == STEMS


def test_nothing_there(tmp_path):
    assert_refused(tmp_path / "nowhere", "it is not there, or no folder")
    assert_refused(tmp_path, "expected at least 5 images, to train, to validate and to test; found 0")


def test_too_few_images_or_patients(folder):
    write_patients(folder, {stem: f"twin {number // 2}" for number, stem in enumerate(STEMS)})
    assert_refused(
        folder, "expected at least 5 images of different patients, to train, to validate and to test; found 3"
    )
    for stem in STEMS[:2]:
        for path in folder.rglob(f"{stem}.png"):
            path.unlink()
    (folder / "patients.csv").unlink()
    assert_refused(folder, "expected at least 5 images, to train, to validate and to test; found 4")


def test_an_image_that_cannot_be_opened(folder, monkeypatch):
    start = folders._start

    def denied(path):
        if path.stem == STEMS[1]:
            raise PermissionError(13, "Permission denied")
        return start(path)

    monkeypatch.setattr(folders, "_start", denied)
    with pytest.raises(FolderError, match=rf"images/{STEMS[1]}\.png: cannot be read \(Permission denied\); replace it"):
        folders.read(folder)


LINKED = "expected files of the folder, found a link out of it; replace it, or take it out of the folder"


def test_links_out_of_the_folder(folder):
    secret = folder.parent / "secret"
    save(secret / "x.png", gradient())
    (folder / "images/ward").symlink_to(secret)
    (folder / "images/lnk.png").symlink_to(secret / "x.png")
    (folder / "masks/heart").symlink_to(secret)
    (folder / "images/.hidden").symlink_to(secret)
    assert_refused(folder, f"images/ward: {LINKED}", f"images/lnk.png: {LINKED}", f"masks/heart: {LINKED}")
    shutil.rmtree(folder / "masks")
    (folder / "patients.csv").rename(secret / "patients.csv")
    (folder / "patients.csv").symlink_to(secret / "patients.csv")
    (folder / "images").rename(secret / "images")
    (folder / "images").symlink_to(secret / "images")
    assert_refused(folder, f"images: {LINKED}", f"patients.csv: {LINKED}", "expected at least 5 images")


def test_links_within_the_folder_and_to_it(folder):
    (folder / "images" / f"{STEMS[0]}.png").rename(folder / "first.png")
    (folder / "images" / f"{STEMS[0]}.png").symlink_to(folder / "first.png")
    (folder.parent / "link").symlink_to(folder)
    assert folders.read(folder.parent / "link").checksum() == folders.read(folder).checksum()


def test_two_images_of_one_name(folder):
    save(folder / f"images/again/{STEMS[2]}.jpg", gradient())
    assert_refused(
        folder,
        f"images/again/{STEMS[2]}.jpg: expected names that differ, images/{STEMS[2]}.png is called '{STEMS[2]}' too",
    )


def test_files_of_other_kinds_among_the_images(folder):
    (folder / "images/scan.gif").write_bytes(b"")
    (folder / "images/IM0001").write_bytes(b"")
    kinds = (
        "expected .png, .jpg, .jpeg, .tif, .tiff, .dcm, .dicom, or another DICOM file; "
        "convert it, or take it out of the folder"
    )
    assert_refused(folder, f"images/scan.gif: {kinds}", f"images/IM0001: {kinds}")


def test_some_images_may_have_masks_and_others_not(folder):
    for stem in STEMS[2:]:
        for side in (LEFT, RIGHT):
            (folder / side / f"{stem}.png").unlink()
    save(folder / f"masks/heart/{STEMS[5]}.png", drawing(slice(20, 30)))
    masks = {name: list(files) for name, files in folders.read(folder).masks.items()}
    assert masks == {"heart": [STEMS[5]], "left_lung": STEMS[:2], "right_lung": STEMS[:2]}


def test_masks_without_image_or_without_their_other_half_are_all_named(folder):
    (folder / LEFT / f"{STEMS[1]}.png").rename(folder / LEFT / "nobody.png")
    (folder / RIGHT / f"{STEMS[4]}.png").unlink()
    assert_refused(
        folder,
        "masks/left_lung/nobody.png: there is no image of that name",
        "masks/left_lung/nobody.png: there is no masks/right_lung/nobody.png; a blank one says that it cannot be seen",
        f"masks/right_lung/{STEMS[1]}.png: there is no masks/left_lung/{STEMS[1]}.png",
        f"masks/left_lung/{STEMS[4]}.png: there is no masks/right_lung/{STEMS[4]}.png",
    )


def test_masks_of_unknown_structures_and_kinds(folder):
    save(folder / "masks/lung/a.png", drawing(slice(2, 9)))
    save(folder / "masks/a.png", drawing(slice(2, 9)))
    save(folder / "masks/heart/a.jpg", drawing(slice(2, 9)))
    structures = "STRUCTURE one of lungs, left_lung, right_lung, heart, clavicles, left_clavicle, right_clavicle"
    assert_refused(
        folder,
        f"masks/lung/a.png: expected masks/STRUCTURE/a.png, {structures}",
        f"masks/a.png: expected masks/STRUCTURE/a.png, {structures}",
        "masks/heart/a.jpg: expected .png, .tif, .tiff, which keep a mask's edge as it is",
    )


def test_structures_that_cannot_stand_together(folder):
    shutil.copytree(folder / LEFT, folder / "masks/lungs")
    assert_refused(folder, "masks/lungs and masks/left_lung: expected masks of the one or the other, found both")
    shutil.rmtree(folder / LEFT)
    shutil.rmtree(folder / "masks/lungs")
    assert_refused(folder, "masks/right_lung without masks/left_lung; masks of both in one go to masks/lungs")


def test_one_message_holds_twenty_faults_and_how_many_more_there_are(folder):
    for number in range(30):
        save(folder / f"masks/heart/nobody{number:02}.png", drawing(slice(2, 9)))
    with pytest.raises(FolderError, match=r"30 faults:\n(.*\n){20}  \.\.\. and 10 more\n"):
        folders.read(folder)


def test_files_that_are_too_large(folder, monkeypatch):
    size = (folder / f"images/{STEMS[3]}.png").stat().st_size
    save(folder / f"images/{STEMS[3]}.png", np.random.default_rng(0).integers(0, 255, (50, 40), np.uint8))
    monkeypatch.setattr(folders, "MAX_FILE_BYTES", 2 * size)
    assert_refused(folder, f"images/{STEMS[3]}.png: expected at most {2 * size} bytes, found")


def test_names_that_cannot_be_printed(folder):
    for path in folder.rglob(f"{STEMS[0]}.png"):
        path.rename(path.with_stem("two\nlines"))
    patients = {stem: stem for stem in STEMS[1:]} | {'"two\nlines"': "a"}
    write_patients(folder, patients)
    with pytest.raises(FolderError, match=r"3 faults:\n  'images/two\\nlines.png': expected a name of printable"):
        folders.read(folder)


def test_a_checksum_tells_contents_apart_and_not_places(folder):
    before = folders.read(folder).checksum()
    moved = folder.rename(folder.with_name("moved"))
    assert folders.read(moved).checksum() == before
    seen = {before}
    image, mask = moved / f"images/{STEMS[0]}.png", moved / LEFT / f"{STEMS[0]}.png"
    for change in (
        lambda: save(image, gradient()[::-1].copy() + np.uint8(3)),
        lambda: save(mask, drawing(slice(25, 36))),
        lambda: write_patients(moved, {stem: stem.upper() for stem in STEMS}),
        lambda: (moved / "patients.csv").unlink(),
        lambda: [path.rename(path.with_stem("other")) for path in moved.rglob(f"{STEMS[0]}.png")],
        lambda: shutil.rmtree(moved / "masks"),
    ):
        change()
        checksum = folders.read(moved).checksum()
        assert checksum not in seen
        seen.add(checksum)


def test_a_file_that_is_not_written_to_is_read_once(folder, monkeypatch):
    before = folders.read(folder).checksum()
    with monkeypatch.context() as patch:
        patch.setattr(folders._Stored, "__call__", None)
        patch.setattr(folders, "_pairs", lambda table: [(stem, stem) for stem in STEMS])
        assert folders.read(folder).checksum() == before
