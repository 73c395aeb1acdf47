"""One radiograph from a file, PNG, JPEG, TIFF or DICOM, as grey pixels with bones bright. Files are not trusted."""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pydicom
from jaxtyping import Bool, Float, Shaped
from PIL import Image
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from tfds_builders.image_files import MAX_FILE_BYTES, MAX_PIXELS, DownloadError, File, decode

FORMATS = ("PNG", "JPEG", "TIFF")
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")
MODALITIES = ("CR", "DX", "RG", "RF", "XA", "OT", "")  # of a DICOM file: projections, or not said
HEAD = 132  # bytes, of which a DICOM file's last four are its mark
DEFLATED = DeflatedExplicitVRLittleEndian.encode()
PLAIN = ExplicitVRLittleEndian.encode().ljust(len(DEFLATED), b"\0")


@dataclass(frozen=True)
class Radiograph:
    """Grey pixels, bones bright, on any scale; height and width of a pixel in mm where the file says them.

    These millimetres are the patient's where the file is calibrated or tells its magnification, else the detector's or
    the film's, on which all is larger than in the patient.
    """

    pixels: Float[np.ndarray, "h w"]
    spacing: tuple[float, float] | None = None


def read(file: File) -> Radiograph:
    """Read a radiograph of 8 to 16 bits, grey or colour, by its content, whatever its name.

    A picture is turned as its EXIF orientation says. Of a DICOM file, rescaling and the first window (or look-up table)
    are applied, MONOCHROME1 is inverted, and padding is black; a window or a size of a pixel that cannot be is none.
    Raises `DownloadError`.
    """
    content = file.read()
    with _decoding(file):
        radiograph = _dicom(content) if is_dicom(content) else Radiograph(decode(content, FORMATS).astype(np.float32))
        if not np.isfinite(radiograph.pixels).all():
            raise ValueError("expected finite pixel values, found infinite ones or none (NaN)")
        return radiograph


def read_patient(file: File) -> str | None:
    """Return whose radiograph a DICOM file says it is; None where it does not, or is none. Raises `DownloadError`."""
    content = file.read()
    if not is_dicom(content):
        return None
    with _decoding(file):
        tags = pydicom.dcmread(_inflated(content), stop_before_pixels=True, specific_tags=["PatientID"])
        return str(tags.get("PatientID") or "").strip() or None


def is_one(name: str, start: bytes) -> bool:
    """Tell by its name or its first `HEAD` bytes whether a file means to be a radiograph."""
    return name.lower().endswith(SUFFIXES) or start.startswith(BEGINNINGS) or is_dicom(start)


def is_dicom(start: bytes) -> bool:
    """Tell by its beginning whether a file is DICOM."""
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
    dataset = pydicom.dcmread(_inflated(content))
    modality = dataset.get("Modality", "") or ""
    if modality not in MODALITIES:
        raise ValueError(f"expected a projection radiograph ({', '.join(filter(None, MODALITIES))}), found {modality}")
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
    pixels = _windowed(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float32)
    if pixels.shape != (height, width):
        raise ValueError(f"expected {height}x{width} pixels, found {pixels.shape}")
    padding = _padding(dataset)
    seen = pixels if padding.all() else pixels[~padding]
    if meaning == "MONOCHROME1":
        pixels, seen = (seen.max() + seen.min() - part for part in (pixels, seen))
    return Radiograph(np.where(padding, min(seen.min(), 0), pixels), _spacing(dataset))


def _windowed(pixels: Shaped[np.ndarray, "*shape"], dataset: pydicom.Dataset) -> Shaped[np.ndarray, "*shape"]:
    """Apply the look-up table or the window; one whose centre, width or function cannot be is taken out."""
    if not dataset.get("VOILUTFunction"):
        dataset.VOILUTFunction = "LINEAR"
    center, width = ((_numbers(dataset, name) or [np.nan])[0] for name in ("WindowCenter", "WindowWidth"))
    possible = {"LINEAR": width >= 1, "LINEAR_EXACT": width > 0, "SIGMOID": width > 0}
    if not (np.isfinite([center, width]).all() and possible.get(str(dataset.VOILUTFunction).upper())):
        dataset.pop("WindowWidth", None)
    return apply_voi_lut(pixels, dataset)


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
    stream.seek(HEAD)
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
