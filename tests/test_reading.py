"""Radiographs from files of every kind, and refusals of what is none."""

import contextlib
import io
import os
import subprocess
import sys
import warnings

import numpy as np
import pydicom
import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cxr_jax import reading
from cxr_jax.errors import UserError
from cxr_jax.isolation import IsolatedReader
from tests.samples import DEEP, RAMP, deflated, dicom, mutated, picture
from tfds_builders import image_files, radiograph_files
from tfds_builders.isolation import Isolated, UnfinishedError
from tfds_builders.radiograph_files import Radiograph

MAGNIFICATION = "EstimatedRadiographicMagnificationFactor"


def read(tmp_path, content: bytes, name: str = "file") -> Radiograph:
    path = tmp_path / name
    path.write_bytes(content)
    return reading.read(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    ids=lambda value: "",
    argvalues=[
        (picture(RAMP, "PNG"), RAMP),
        (picture(DEEP, "PNG"), DEEP),
        (picture(np.repeat(RAMP[..., None], 3, -1), "PNG"), RAMP),
        (picture(np.repeat(RAMP[..., None], 4, -1), "PNG"), RAMP),
        (picture(RAMP, "TIFF"), RAMP),
        (picture(DEEP, "TIFF"), DEEP),
        (picture(np.repeat(RAMP[..., None], 3, -1), "TIFF"), RAMP),
        (dicom(), DEEP),
        (dicom(RAMP), RAMP),
        (deflated(dicom()), DEEP),
        (dicom(syntax=RLELossless), DEEP),
        (dicom(syntax=JPEG2000Lossless, encoded=picture(DEEP, "JPEG2000", irreversible=False, no_jp2=True)), DEEP),
        (dicom(RescaleSlope=2, RescaleIntercept=-100), 2.0 * DEEP - 100),
        (dicom(PhotometricInterpretation="MONOCHROME1"), float(DEEP.max()) - DEEP),
    ],
)
def test_pixels_come_out_as_they_are(tmp_path, content, expected):
    found = read(tmp_path, content).pixels
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1.5e-2)


@pytest.mark.parametrize(
    ("padding", "tags"),
    [
        (0, {"PhotometricInterpretation": "MONOCHROME1"}),
        (4095, {}),
        (4090, {"PixelPaddingRangeLimit": 4095}),
        (4095, {"PixelPaddingRangeLimit": 4090, "RescaleIntercept": 100, "RescaleSlope": 1}),
    ],
)
def test_padding_is_black_and_no_part_of_the_image(tmp_path, padding, tags):
    image = RAMP.astype(np.uint16) * 10 + 500
    framed = np.pad(image, 3, constant_values=padding)
    alone = read(tmp_path, dicom(image, **{name: tags[name] for name in tags if "Range" not in name})).pixels
    found = read(tmp_path, dicom(framed, PixelPaddingValue=padding, **tags)).pixels
    np.testing.assert_array_equal(found[3:-3, 3:-3], alone)
    found[3:-3, 3:-3] = 0
    assert not found.any()


def test_an_image_that_is_padding_throughout_stays_as_it_is(tmp_path):
    found = read(tmp_path, dicom(np.full((4, 4), 7, np.uint16), PixelPaddingValue=7)).pixels
    assert not found.any() or (found == 7).all()


@pytest.mark.parametrize("content", [picture(RAMP, "JPEG", quality=95), None], ids=["jpeg", "dicom"])
def test_lossy_files_are_read_nearly(tmp_path, content):
    content = content or dicom(RAMP, JPEGBaseline8Bit, picture(RAMP, "JPEG", quality=95))
    assert np.abs(read(tmp_path, content).pixels - RAMP).max() < 12


def test_a_picture_is_turned_as_its_orientation_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    content = picture(RAMP, "JPEG", quality=100, exif=exif)
    np.testing.assert_allclose(read(tmp_path, content).pixels, np.rot90(RAMP, -1), atol=12)


def test_a_window_is_applied(tmp_path):
    found = read(tmp_path, dicom(WindowCenter=30000, WindowWidth=20000)).pixels
    assert (found[DEEP < 20000] == found.min()).all()
    assert (found[DEEP > 40000] == found.max()).all()
    inside = (DEEP > 21000) & (DEEP < 39000)
    assert np.corrcoef(found[inside], DEEP[inside])[0, 1] > 0.9999


def odd(**tags) -> bytes:
    """Return a DICOM file whose tags pydicom warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dicom(**tags)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowWidth": 0},
        {"WindowWidth": 0.5},
        {"WindowWidth": [0, 20000], "WindowCenter": [30000, 30000]},
        {"WindowWidth": ["", 20000]},
        {"WindowWidth": "nan"},
        {"WindowWidth": 20000, "WindowCenter": ["", 30000]},
        {"WindowWidth": 20000, "VOILUTFunction": "OTHER"},
        {"WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowWidth": -1, "VOILUTFunction": "SIGMOID"},
    ],
)
def test_a_window_that_cannot_be_is_none(tmp_path, tags):
    np.testing.assert_array_equal(read(tmp_path, odd(**{"WindowCenter": 30000} | tags)).pixels, DEEP)


@pytest.mark.parametrize(
    "tags",
    [
        {"WindowWidth": 1},
        {"WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowWidth": 0.5, "VOILUTFunction": "SIGMOID"},
        {"WindowWidth": [1, 0], "WindowCenter": [30000, 40000]},
        {"WindowWidth": 1, "VOILUTFunction": ""},
    ],
)
def test_the_first_window_may_be_as_narrow_as_its_function_allows(tmp_path, tags):
    found = read(tmp_path, dicom(**{"WindowCenter": 30000} | tags)).pixels
    np.testing.assert_array_equal(found[DEEP != 30000], np.where(DEEP > 30000, 65535, 0)[DEEP != 30000])


GREYS = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # of 12 bits


def table(entries: np.ndarray, first: int = 0, bits: int = 8, sign: str = "US", kind: str = "<u2") -> pydicom.Dataset:
    """Return a look-up table whose entries are words of 16 bits or, of the `kind` u1, packed bytes."""
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", sign, [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", entries.astype(kind).tobytes())
    return item


@pytest.mark.parametrize(
    ("entries", "about", "tags", "places"),
    [
        (np.arange(4096) // 16, {}, {}, GREYS),
        (np.arange(4096) // 16, {"kind": "u1"}, {}, GREYS),
        (np.arange(4096), {"bits": 12}, {}, GREYS),
        (np.arange(1000) // 4, {"first": 500}, {}, np.clip(GREYS.astype(int) - 500, 0, 999)),
        (np.arange(65536), {"bits": 16}, {}, GREYS),
        (np.arange(4096), {"bits": 12}, {"RescaleSlope": 0.5, "RescaleIntercept": 7}, np.rint(GREYS / 2 + 7)),
        *(
            (np.arange(3000) // 12, said, {"RescaleSlope": 1, "RescaleIntercept": -1000}, np.clip(GREYS, 0, 2999))
            for said in ({"first": -1000, "sign": "SS"}, {"first": 65536 - 1000})
        ),
    ],
    ids=["8 bits", "packed", "12 bits", "a first", "65536 entries", "rescaled", "signed", "sign unsaid"],
)
def test_a_look_up_table_is_applied_to_all_greys(tmp_path, entries, about, tags, places):
    found = read(tmp_path, dicom(GREYS, VOILUTSequence=[table(entries, **about)], **tags)).pixels
    np.testing.assert_array_equal(found, entries[places.astype(int)])


def test_a_table_of_the_modality_may_have_more_entries_than_the_pixels_have_greys(tmp_path):
    content = dicom(RAMP, ModalityLUTSequence=[table(np.arange(300) * 3, first=-20, bits=16, sign="SS")])
    np.testing.assert_array_equal(read(tmp_path, content).pixels, np.minimum(RAMP.astype(int) + 20, 299) * 3)


def test_a_table_that_is_cut_off_is_refused(tmp_path):
    short = table(np.arange(4096), bits=12)
    short.LUTData = short.LUTData[:1000]
    with pytest.raises(reading.ReadError, match="expected a look-up table of 4096 entries, found 500"):
        read(tmp_path, dicom(GREYS, VOILUTSequence=[short]))


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 30000, "WindowWidth": 20000}], ids=["", "window"])
@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"RescaleSlope": "", "RescaleIntercept": 5},
        {"RescaleSlope": 2},
        {"RescaleSlope": [1, 2], "RescaleIntercept": 5},
        {"RescaleSlope": "nan", "RescaleIntercept": 5},
    ],
)
def test_a_rescaling_that_cannot_be_is_none(tmp_path, tags, window):
    expected = read(tmp_path, dicom(**window)).pixels
    np.testing.assert_array_equal(read(tmp_path, odd(**tags | window)).pixels, expected)


def unmarked(syntax: str) -> bytes:
    """Return a DICOM file as tags alone, without anything in front of them."""
    dataset = pydicom.dcmread(io.BytesIO(dicom(PatientID="someone")))
    buffer = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(buffer, pydicom.Dataset(dataset), implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


UNMARKED = {
    "implicit": unmarked(ImplicitVRLittleEndian),
    "explicit": unmarked(ExplicitVRLittleEndian),
    "deflated": deflated(dicom(PatientID="someone"))[132:],
    "rle": dicom(syntax=RLELossless, PatientID="someone")[132:],
}


@pytest.mark.parametrize("content", UNMARKED.values(), ids=UNMARKED)
def test_a_dicom_file_without_its_mark_is_known_by_its_name(tmp_path, content):
    for name in ("a.dcm", "A.DICOM"):
        np.testing.assert_array_equal(read(tmp_path, content, name).pixels, DEEP)
        file = image_files.File(name, len(content), lambda: content)
        assert radiograph_files.read_patient(file) == "someone"
    with pytest.raises(reading.ReadError, match="cannot identify image file"):
        read(tmp_path, content, "a")


def test_a_name_does_not_make_a_dicom_file(tmp_path):
    np.testing.assert_array_equal(read(tmp_path, picture(DEEP, "PNG"), "a.dcm").pixels, DEEP)
    for content in (b"", b"no picture at all", UNMARKED["explicit"][:400]):
        with pytest.raises(reading.ReadError, match=r"a\.dcm: not a readable radiograph"):
            read(tmp_path, content, "a.dcm")


@pytest.mark.parametrize("view", ["LL", "RL", "LATERAL", "lateral", "LEFT LAT", "XTABLE LATERAL"])
def test_a_lateral_view_is_refused(tmp_path, view):
    with pytest.raises(
        reading.ReadError, match=rf"expected a frontal view, found a lateral one \(ViewPosition {view}\)"
    ):
        read(tmp_path, odd(ViewPosition=view))


@pytest.mark.parametrize("view", [None, "", "PA", "AP", "AP LLD", "LATERAL DECUBITUS"])
def test_a_frontal_view_is_read(tmp_path, view):
    np.testing.assert_array_equal(read(tmp_path, odd(ViewPosition=view)).pixels, DEEP)


def test_numbers_that_are_none_do_not_damage_a_file(tmp_path):
    content = dicom(PixelSpacing=["0.1", "0.2"], WindowCenter=30000, WindowWidth=20000)
    for value in (b"0.1\\0.2", b"30000", b"20000"):
        assert content.count(value) == 1
        content = content.replace(value, b"?" * len(value))
    found = read(tmp_path, content)
    np.testing.assert_array_equal(found.pixels, DEEP)
    assert found.spacing is None


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({}, None),
        ({"PixelSpacing": [0.2, 0.1]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.4]}, (0.2, 0.1)),
        ({"PixelSpacing": [0, 0.1]}, None),
        ({"PixelSpacing": "0.1"}, None),
        ({"PixelSpacing": ["0.1", ""]}, None),
        ({"PixelSpacing": [0.1, 0.1, 0.1]}, None),
        ({"PixelSpacing": "0.1", "ImagerPixelSpacing": [0.3, 0.4]}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [0.3, 0.4], MAGNIFICATION: 1.25}, (0.24, 0.32)),
        ({"ImagerPixelSpacing": [0.3, 0.4], MAGNIFICATION: 0}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [0.3, 0.4], MAGNIFICATION: "inf"}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [0.3, 0.4], MAGNIFICATION: ""}, (0.3, 0.4)),
        ({"PixelSpacing": [0.2, 0.1], MAGNIFICATION: 1.25}, (0.2, 0.1)),
        ({"NominalScannedPixelSpacing": [0.5, 0.6], MAGNIFICATION: 1.25}, (0.5, 0.6)),
        ({"ImagerPixelSpacing": [0.3, 0.4], "NominalScannedPixelSpacing": [0.5, 0.6]}, (0.3, 0.4)),
        ({"ImagerPixelSpacing": [-1, 0.4], "NominalScannedPixelSpacing": [0.5, 0.6]}, (0.5, 0.6)),
    ],
)
def test_the_size_of_a_pixel_is_kept_where_it_is_told(tmp_path, tags, spacing):
    assert read(tmp_path, odd(**tags)).spacing == (spacing and pytest.approx(spacing))


def pages() -> bytes:
    buffer = io.BytesIO()
    page = Image.fromarray(RAMP)
    page.save(buffer, "TIFF", save_all=True, append_images=[page])
    return buffer.getvalue()


def bomb() -> bytes:
    """Return a small PNG of very many pixels."""
    buffer = io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    ids=lambda value: value[:40] if isinstance(value, str) else "",
    argvalues=[
        (b"", "not a readable radiograph"),
        (b"no picture at all", "not a readable radiograph"),
        (picture(RAMP, "PNG")[:-30], "not a readable radiograph"),
        (picture(RAMP, "GIF"), "not a readable radiograph"),
        (pages(), "expected one image, found several frames or pages"),
        (bomb(), "not a readable radiograph"),
        (dicom()[:-200], "not a readable radiograph"),
        (deflated(dicom())[:-200], "not a readable radiograph"),
        (dicom(Modality="CT"), "expected a projection radiograph .* found CT"),
        (dicom(NumberOfFrames=2), "expected one image of at most 64000000 pixels, found 2 of 25x12"),
        (dicom(Rows=60000, Columns=60000), "expected one image of at most 64000000 pixels, found 1 of 60000x60000"),
        (dicom(Rows=500), "not a readable radiograph"),
        (dicom(PhotometricInterpretation="RGB"), "expected MONOCHROME1 or MONOCHROME2, found RGB"),
        (picture(np.full((4, 4), np.nan, np.float32), "TIFF"), "its pixels are no whole numbers"),
    ],
)
def test_what_is_no_radiograph_is_refused_by_name(tmp_path, content, message):
    with pytest.raises(reading.ReadError, match=message) as refusal:
        read(tmp_path, content, "some_name.png")
    assert "some_name.png" in str(refusal.value)


def test_pages_are_not_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(TiffImageFile, "n_frames", property(lambda picture: pytest.fail("they may be very many")))
    with pytest.raises(reading.ReadError, match="found several frames or pages"):
        read(tmp_path, pages())


def test_deflated_files_are_inflated_to_a_sane_size(tmp_path, monkeypatch):
    content = deflated(dicom(np.zeros((200, 200), np.uint16), PatientID="someone"))
    file = image_files.File("some.dcm", len(content), lambda: content)
    assert radiograph_files.read_patient(file) == "someone"
    monkeypatch.setattr(radiograph_files, "MAX_FILE_BYTES", 2000)
    for reader in radiograph_files.read, radiograph_files.read_patient:
        with pytest.raises(image_files.DownloadError, match=r"expected at most 2000 bytes when inflated, found more"):
            reader(file)


@pytest.mark.parametrize("content", [picture(RAMP, "PNG"), dicom()], ids=["png", "dicom"])
def test_too_little_memory_is_no_fault_of_the_file(tmp_path, monkeypatch, content):
    def devour(*arguments, **options):
        raise MemoryError

    path = tmp_path / "a"
    path.write_bytes(content)
    monkeypatch.setattr(radiograph_files, "decode", devour)
    monkeypatch.setattr(radiograph_files.pydicom, "dcmread", devour)
    with pytest.raises(MemoryError):
        reading.read(path)


def test_only_files_of_a_sane_size_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_FILE_BYTES", 100)
    with pytest.raises(reading.ReadError, match="expected at most 100 bytes"):
        read(tmp_path, bytes(101))
    with pytest.raises(reading.ReadError, match="cannot be read"):
        reading.read(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(reading.ReadError, match=r"found something else|cannot be read"):
        reading.read(tmp_path / "pipe")


def test_a_file_is_known_by_its_name_or_its_beginning(tmp_path):
    for name, content, known in (
        ("a.png", b"", True),
        ("IM0001", dicom(), True),
        ("scan", picture(RAMP, "TIFF"), True),
        ("notes.txt", b"notes", False),
    ):
        (tmp_path / name).write_bytes(content)
        assert reading.looks_like_one(tmp_path / name) == known


SAMPLES = {
    "png": picture(DEEP, "PNG"),
    "jpeg": picture(RAMP, "JPEG"),
    "tiff": picture(DEEP, "TIFF"),
    "deflated": deflated(dicom()),
    "dicom": dicom(WindowCenter=30000, WindowWidth=20000),
    "rle": dicom(syntax=RLELossless),
    "unmarked": UNMARKED["implicit"],
    "table": dicom(GREYS, VOILUTSequence=[table(np.arange(4096) // 16)]),
    "jpeg2000": dicom(syntax=JPEG2000Lossless, encoded=picture(DEEP, "JPEG2000", irreversible=False, no_jp2=True)),
    "baseline": dicom(RAMP, JPEGBaseline8Bit, picture(RAMP, "JPEG")),
}


def survive(tmp_path, rounds: int) -> None:
    """Read mutated files; each must be a radiograph of bounded size or be refused, in time and memory."""
    generator = np.random.default_rng(0)
    path = tmp_path / "mutated.dcm"  # a name that makes one of what is not marked as DICOM
    with Isolated(seconds=20) as process:
        for _ in range(rounds):
            for content in SAMPLES.values():
                path.write_bytes(mutated(content, generator))
                with contextlib.suppress(reading.ReadError):
                    assert process.call(str(path), reading.read, path).pixels.size <= image_files.MAX_PIXELS


def test_mutated_files_are_read_or_refused(tmp_path):
    survive(tmp_path, 290)


def crash(path):
    os.abort()


def test_a_crash_is_not_taken_for_a_refusal(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "read", crash)
    with pytest.raises(UnfinishedError, match="its decoder crashed"):
        survive(tmp_path, 1)


@pytest.mark.slow
def test_thousands_of_mutated_files_are_read_or_refused(tmp_path):
    survive(tmp_path, 1000)


def test_a_file_that_crashes_its_decoder_is_skipped_as_any_bad_file(tmp_path, monkeypatch):
    path = tmp_path / "file.png"
    path.write_bytes(SAMPLES["png"])
    with IsolatedReader() as reader:
        with monkeypatch.context() as patch:
            patch.setattr("cxr_jax.isolation.read", crash)
            with pytest.raises(reading.ReadError, match=r"file\.png: its decoder crashed"):
                reader.read(path)
        np.testing.assert_array_equal(reader.read(path).pixels, DEEP)


def test_a_reader_that_does_not_start_is_no_bad_file(tmp_path, monkeypatch):
    (tmp_path / "file.png").write_bytes(SAMPLES["png"])
    with IsolatedReader() as reader:
        monkeypatch.setattr(sys, "path", [])
        with pytest.raises(UserError, match="does not start: expected an answer of"):
            reader.read(tmp_path / "file.png")


def test_a_script_without_a_main_guard_reads_too(tmp_path):
    (tmp_path / "file.png").write_bytes(SAMPLES["png"])
    script = tmp_path / "script.py"
    script.write_text(
        "from cxr_jax.isolation import IsolatedReader\n"
        "with IsolatedReader() as reader:\n"
        "    print(reader.read('file.png').pixels.shape)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.getcwd()}  # noqa: PTH109
    ran = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (ran.stdout, ran.stderr) == (f"{DEEP.shape}\n", "")
