"""One radiograph from a file, PNG, JPEG, TIFF or DICOM, as grey pixels with bones bright. Files are not trusted."""

import io
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pydicom
from jaxtyping import Bool, Float
from PIL import Image
from pydicom.filereader import read_dataset
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
    """Grey pixels, bones bright, on any scale; height and width of a pixel in mm where the file says them."""

    pixels: Float[np.ndarray, "h w"]
    spacing: tuple[float, float] | None = None


def read(file: File) -> Radiograph:
    """Read a radiograph of 8 to 16 bits, grey or colour, by its content, whatever its name.

    A picture is turned as its EXIF orientation says. Of a DICOM file, rescaling and the first window (or look-up table)
    are applied, MONOCHROME1 is inverted, and padding is black. Raises `DownloadError`.
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
    pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float32)
    if pixels.shape != (height, width):
        raise ValueError(f"expected {height}x{width} pixels, found {pixels.shape}")
    padding = _padding(dataset)
    seen = pixels if padding.all() else pixels[~padding]
    if meaning == "MONOCHROME1":
        pixels, seen = (seen.max() + seen.min() - part for part in (pixels, seen))
    return Radiograph(np.where(padding, min(seen.min(), 0), pixels), _spacing(dataset))


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
    """Return PixelSpacing, which is calibrated, or else ImagerPixelSpacing, which is the detector's."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = dataset.get(name)
        if values and len(values) == 2 and all(np.isfinite(float(value)) and float(value) > 0 for value in values):
            return float(values[0]), float(values[1])
    return None
