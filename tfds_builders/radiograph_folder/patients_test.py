"""Whose the radiographs of a folder are: from a table, or from DICOM files."""

import pytest

from tests import hospitals
from tests.hospitals import STEMS, assert_refused, make, write_patients
from tests.samples import dicom
from tfds_builders.radiograph_folder import folder as folders


@pytest.fixture
def folder(tmp_path):
    """Return a folder with six radiographs, their masks of both lungs, and whose they are."""
    return make(tmp_path / "hospital")


def test_without_a_table_dicom_files_say_whose_they_are(folder, caplog):
    (folder / "patients.csv").unlink()
    for stem in STEMS:
        (folder / f"images/{stem}.png").unlink()
        (folder / f"images/{stem}.dcm").write_bytes(dicom(PatientID=f"id of {stem}"))
    unmarked = folder / f"images/{STEMS[2]}.dcm"
    unmarked.write_bytes(unmarked.read_bytes()[132:])
    assert folders.read(folder).patients == {stem: f"id of {stem}" for stem in STEMS}
    assert not caplog.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders.Isolated, "call", lambda *_: pytest.fail("files that have not changed are read again"))
        assert folders.read(folder).patients == {stem: f"id of {stem}" for stem in STEMS}
    (folder / f"images/{STEMS[0]}.dcm").write_bytes(dicom())
    (folder / f"images/{STEMS[1]}.dcm").unlink()
    hospitals.save(folder / f"images/{STEMS[1]}.png", hospitals.gradient())
    others = {stem: f"id of {stem}" for stem in STEMS[2:]}
    assert folders.read(folder).patients == {stem: f"unknown: {stem}" for stem in STEMS[:2]} | others
    assert f"whose 2 of 6 images are is not said, {STEMS[0]} first" in caplog.text
    for stem in STEMS[2:]:
        (folder / f"images/{stem}.dcm").write_bytes(dicom())
    assert folders.read(folder).patients is None
    write_patients(folder, {stem: "told" + stem for stem in STEMS})
    assert folders.read(folder).patients[STEMS[1]] == "told" + STEMS[1]


@pytest.mark.parametrize(
    "how", [{"separator": ";"}, {"encoding": "utf-8-sig"}, {"head": " image , patient , age"}], ids=str
)
def test_tables_as_spreadsheets_write_them(folder, how):
    write_patients(folder, {f"{stem}.png" if "0" in stem else stem: f" Ä{stem} " for stem in STEMS}, **how)
    assert folders.read(folder).patients == {stem: f"Ä{stem}" for stem in STEMS}


def test_names_with_points_and_umlauts_are_matched(folder):
    uid = "1.2.840.113.7"
    for path in folder.rglob(f"{STEMS[0]}.png"):
        path.rename(path.with_name(f"{uid}.png"))
    for path in folder.rglob(f"{STEMS[1]}.png"):
        path.rename(path.with_name("Mu\u0308ller.png"))  # as a Mac writes it
    write_patients(folder, {uid: "a", "M\u00fcller": "b"} | {stem: stem for stem in STEMS[2:]})
    assert folders.read(folder).patients[uid] == "a"
    assert folders.read(folder).patients["M\u00fcller"] == "b"


def test_a_table_that_does_not_fit_the_images(folder):
    write_patients(folder, {stem: stem for stem in STEMS[:-1]} | {"somebody.png": "x", f"{STEMS[0]}.png": "y"})
    assert_refused(
        folder,
        "patients.csv: there is no image 'somebody'",
        f"patients.csv: expected one patient of '{STEMS[0]}', found '{STEMS[0]}' and 'y'",
        f"patients.csv: says nothing of image '{STEMS[-1]}'",
    )
    write_patients(folder, {stem: stem for stem in STEMS[:-1]} | {STEMS[-1]: ""})
    assert_refused(folder, f"patients.csv: expected one patient of '{STEMS[-1]}', found None and ''")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected the columns image and patient in its first line, found []"),
        (b"file,person\na,b\n", "expected the columns image and patient in its first line, found ['file', 'person']"),
        (b"image,patient\nM\xfcller,b\n", "can't decode byte"),
        (b'image,patient\n"a,b\n', "unexpected end of data"),
    ],
)
def test_a_table_that_cannot_be_read(folder, content, message):
    (folder / "patients.csv").write_bytes(content)
    assert_refused(folder, message)


def test_a_table_is_gone_through_a_few_times_however_many_images_there_are(folder, monkeypatch):
    class Pairs(list):
        passes = 0

        def __iter__(self):
            Pairs.passes += 1
            return super().__iter__()

    monkeypatch.setattr(folders, "_pairs", lambda table: Pairs((stem, stem) for stem in STEMS))
    folders.read(folder)
    assert Pairs.passes <= 2 < len(STEMS)


def test_the_table_is_found_in_any_case(folder):
    (folder / "patients.csv").rename(folder / "Patients.CSV")
    assert folders.read(folder).patients is not None
