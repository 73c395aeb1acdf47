"""One radiograph from a file, PNG, JPEG, TIFF or DICOM, as grey pixels with bones bright. Files are not trusted."""

import io
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Bool, Float, Integer, Shaped
from PIL import Image
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)

from tfds_builders.image_files import MAX_FILE_BYTES, MAX_PIXELS, DownloadError, File, decode

FORMATS = ("PNG", "JPEG", "TIFF")
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", *DICOM_SUFFIXES)
MODALITIES = ("CR", "DX", "RG", "RF", "XA", "OT", "")  # of a DICOM file: projections, or not said
LATERAL = frozenset(("LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT"))  # words of a DICOM file's ViewPosition
HEAD = 132  # bytes, of which a DICOM file's last four are its mark
DEFLATED = DeflatedExplicitVRLittleEndian.encode()
PLAIN = ExplicitVRLittleEndian.encode().ljust(len(DEFLATED), b"\0")
UNSAID = {  # the transfer syntax of a file that does not say it: by whether its tags are implicit, and little-endian
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


@dataclass(frozen=True)
class Radiograph:
    """Grey pixels, bones bright, on any scale; height and width of a pixel in mm where the file says them.

    These millimetres are the patient's where the file is calibrated or tells its magnification, else the detector's or
    the film's, on which all is larger than in the patient.
    """

    pixels: Float[np.ndarray, "h w"]
    spacing: tuple[float, float] | None = None


def read(file: File) -> Radiograph:
    """Read a radiograph of 8 to 16 bits, grey or colour, by its content; a DICOM file without mark by its name.

    A picture is turned as its EXIF orientation says. Of a DICOM file, rescaling and the first window (or look-up table)
    are applied, MONOCHROME1 is inverted, and padding is black; a rescaling, a window or a size of a pixel that cannot
    be is none. Raises `DownloadError`, also for a DICOM file that says it is a lateral view.
    """
    content = file.read()
    with _decoding(file):
        if is_dicom(file.name, content):
            radiograph = _dicom(content)
        else:
            radiograph = Radiograph(decode(content, FORMATS).astype(np.float32))
        if not np.isfinite(radiograph.pixels).all():
            raise ValueError("expected finite pixel values, found infinite ones or none (NaN)")
        return radiograph


def read_patient(file: File) -> str | None:
    """Return whose radiograph a DICOM file says it is; None where it does not, or is none. Raises `DownloadError`."""
    content = file.read()
    if not is_dicom(file.name, content):
        return None
    with _decoding(file):
        tags = _parsed(content, stop_before_pixels=True, specific_tags=["PatientID"])
        return str(tags.get("PatientID") or "").strip() or None


def is_one(name: str, start: bytes) -> bool:
    """Tell by its name or its first `HEAD` bytes whether a file means to be a radiograph."""
    return name.lower().endswith(SUFFIXES) or start.startswith(BEGINNINGS) or _is_marked(start)


def is_dicom(name: str, start: bytes) -> bool:
    """Tell whether a file means to be DICOM: by its mark or, where it begins as no picture does, by its name."""
    return _is_marked(start) or (name.lower().endswith(DICOM_SUFFIXES) and not start.startswith(BEGINNINGS))


def _is_marked(start: bytes) -> bool:
    return start[128:HEAD] == b"DICM"


@contextmanager
def _decoding(file: File) -> Iterator[None]:
    """Turn what decoders raise, which is of many kinds, into one error that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decoders, about what they can read all the same
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except MemoryError:
        raise  # says nothing of the file's format
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise DownloadError(
            f"{file.name}: not a readable radiograph ({reason}); expected one image as PNG, JPEG, TIFF or DICOM; "
            f"{file.remedy}"
        ) from error


def _dicom(content: bytes) -> Radiograph:
    dataset = _parsed(content)
    modality = dataset.get("Modality", "") or ""
    if modality not in MODALITIES:
        raise ValueError(f"expected a projection radiograph ({', '.join(filter(None, MODALITIES))}), found {modality}")
    view = str(dataset.get("ViewPosition", "") or "")
    if _is_lateral(view):
        raise ValueError(f"expected a frontal view, found a lateral one (ViewPosition {view})")
    if "PixelData" not in dataset:
        raise ValueError("it has no pixels")
    height, width, frames = dataset.Rows, dataset.Columns, int(dataset.get("NumberOfFrames", 1) or 1)
    if not 0 < height * width <= MAX_PIXELS or frames != 1:
        raise ValueError(f"expected one image of at most {MAX_PIXELS} pixels, found {frames} of {width}x{height}")
    meaning = dataset.PhotometricInterpretation
    if meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"expected MONOCHROME1 or MONOCHROME2, found {meaning}")
    if dataset.file_meta.get("TransferSyntaxUID") == JPEGBaseline8Bit:
        dataset.pixel_array_options(decoding_plugin="pillow")  # GDCM aborts the process where such a file is damaged
    pixels = _windowed(_rescaled(dataset.pixel_array, dataset), dataset).astype(np.float32)
    if pixels.shape != (height, width):
        raise ValueError(f"expected {height}x{width} pixels, found {pixels.shape}")
    padding = _padding(dataset)
    seen = pixels if padding.all() else pixels[~padding]
    if meaning == "MONOCHROME1":
        pixels, seen = (seen.max() + seen.min() - part for part in (pixels, seen))
    return Radiograph(np.where(padding, min(seen.min(), 0), pixels), _spacing(dataset))


def _parsed(content: bytes, **options: Any) -> pydicom.Dataset:
    """Return what is said in a DICOM file, which may lack its mark and its transfer syntax."""
    dataset = pydicom.dcmread(_inflated(content), force=True, **options)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = UNSAID[dataset.original_encoding]
    return dataset


def _is_lateral(view: str) -> bool:
    """Tell it of a ViewPosition; one of a patient who lies on the side ("decubitus") is frontal."""
    words = re.findall("[A-Z]+", view.upper())
    return not LATERAL.isdisjoint(words) and not any(word.startswith("DECUB") for word in words)


def _rescaled(stored: Shaped[np.ndarray, "*shape"], dataset: pydicom.Dataset) -> Shaped[np.ndarray, "*shape"]:
    """Apply the modality's look-up table or rescaling; unless slope and intercept are a number each, they are none."""
    if tables := dataset.get("ModalityLUTSequence"):
        return _looked_up(stored, tables[0], dataset)
    names = "RescaleSlope", "RescaleIntercept"
    if not all(len(found) == 1 and np.isfinite(found[0]) for found in (_numbers(dataset, name) for name in names)):
        for name in names:
            dataset.pop(name, None)
    return apply_modality_lut(stored, dataset)


def _windowed(pixels: Shaped[np.ndarray, "*shape"], dataset: pydicom.Dataset) -> Shaped[np.ndarray, "*shape"]:
    """Apply the look-up table or the window; a window whose centre, width or function cannot be is taken out."""
    table = (dataset.get("VOILUTSequence") or [{}])[0]
    if None not in (table.get("LUTDescriptor"), table.get("LUTData")):
        return _looked_up(pixels, table, dataset)
    if not dataset.get("VOILUTFunction"):
        dataset.VOILUTFunction = "LINEAR"
    center, width = ((_numbers(dataset, name) or [np.nan])[0] for name in ("WindowCenter", "WindowWidth"))
    possible = {"LINEAR": width >= 1, "LINEAR_EXACT": width > 0, "SIGMOID": width > 0}
    if not (np.isfinite([center, width]).all() and possible.get(str(dataset.VOILUTFunction).upper())):
        dataset.pop("WindowWidth", None)
    return apply_voi_lut(pixels, dataset)


def _looked_up(
    pixels: Shaped[np.ndarray, "*shape"], table: pydicom.Dataset, dataset: pydicom.Dataset
) -> Shaped[np.ndarray, "*shape"]:
    """Return a table's entries for pixels, its first or last for those outside of it.

    pydicom's own functions count entries in a type that may be too small for them: in that of what the table holds, or
    of the pixels.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    count = count % 2**16 or 2**16
    if first >= 2**15 and pixels.min() < 0:
        first -= 2**16  # a negative one, of which the file does not say that it has a sign
    index = np.clip(np.rint(pixels.astype(np.float32)) - first, 0, count - 1)
    return _entries(table.LUTData, count, bits, dataset.original_encoding[1])[index.astype(np.int64)]


def _entries(data: Any, count: int, bits: int, little_endian: bool) -> Integer[np.ndarray, " n"]:
    """Return a table's entries: of up to 8 bits, either each in a word of 16 bits or two in one, the lower byte first.

    Raises `ValueError` where they are fewer than the table should have.
    """
    if isinstance(data, bytes):
        words = np.frombuffer(data, "<u2" if little_endian else ">u2")
    else:
        words = np.ravel(np.asarray(data, np.int64) & 0xFFFF)
    if bits <= 8 and len(words) < count:
        words = words.astype("<u2").view(np.uint8)
    if len(words) < count:
        raise ValueError(f"expected a look-up table of {count} entries, found {len(words)}")
    return words


def _padding(dataset: pydicom.Dataset) -> Bool[np.ndarray, "h w"]:
    """Return which pixels of a DICOM file are none: a frame about the image, of one value or a range of them."""
    first = dataset.get("PixelPaddingValue")
    last = dataset.get("PixelPaddingRangeLimit", first)
    if not (isinstance(first, int) and isinstance(last, int)):
        return np.zeros(dataset.pixel_array.shape, bool)
    return (dataset.pixel_array >= min(first, last)) & (dataset.pixel_array <= max(first, last))


def _inflated(content: bytes) -> io.BytesIO:
    """Return a DICOM file, inflated if it is deflated, which pydicom itself would do without a limit."""
    if DEFLATED not in content:
        return io.BytesIO(content)
    stream = io.BytesIO(content)
    stream.seek(HEAD if _is_marked(content) else 0)
    read_dataset(stream, False, True, stop_when=lambda tag, *_: tag.group != 2)  # what precedes the deflated part
    head, packed = content[: stream.tell()], stream.read()
    if DEFLATED not in head:
        return io.BytesIO(content)
    body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, MAX_FILE_BYTES + 1)
    if len(body) > MAX_FILE_BYTES:
        raise ValueError(f"expected at most {MAX_FILE_BYTES} bytes when inflated, found more")
    return io.BytesIO(head.replace(DEFLATED, PLAIN) + body)


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    """Return the height and width of a pixel in mm, by the first attribute that tells both.

    PixelSpacing is in the plane of the patient that it was calibrated for, or in the detector's where it only repeats
    ImagerPixelSpacing. That is in the detector's plane, and is divided by the magnification, where that is told, to be
    in the patient's. NominalScannedPixelSpacing is in the plane of the film that was digitised.
    """
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        magnification = _magnification(dataset) if name == "ImagerPixelSpacing" else 1.0
        sizes = [size / magnification for size in _numbers(dataset, name)]
        if len(sizes) == 2 and all(np.isfinite(size) and size > 0 for size in sizes):
            return sizes[0], sizes[1]
    return None


def _magnification(dataset: pydicom.Dataset) -> float:
    """Return how many times larger the patient is on the detector; 1 where that is not told."""
    factors = _numbers(dataset, "EstimatedRadiographicMagnificationFactor")
    return factors[0] if len(factors) == 1 and np.isfinite(factors[0]) and factors[0] > 0 else 1.0


def _numbers(dataset: pydicom.Dataset, name: str) -> list[float]:
    """Return the values of an attribute, NaN for one that is no number; none where they cannot be decoded."""
    try:
        value = dataset.get(name)
        values = value if isinstance(value, list | MultiValue) else [value]
        return [float(value) if isinstance(value, int | float) else np.nan for value in values]
    except (OverflowError, TypeError, ValueError):
        return []
