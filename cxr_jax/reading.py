"""One radiograph from a file, PNG, JPEG, TIFF or DICOM, as grey pixels with bones bright. Files are not trusted."""

import io
import os
import stat
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Float
from PIL import Image, ImageOps
from pydicom.pixels import apply_modality_lut, apply_voi_lut

MAX_BYTES = 256 * 2**20  # of a file
MAX_PIXELS = 64 * 10**6  # of an image
MODALITIES = ("CR", "DX", "RG", "RF", "XA", "OT", "")  # of a DICOM file: projections, or not said
FORMATS = ("PNG", "JPEG", "TIFF")
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")


class ReadError(ValueError):
    """A file that is no radiograph this project can read; the message names it and says what was expected."""


@dataclass(frozen=True)
class Radiograph:
    """Grey pixels, bones bright, on any scale; height and width of a pixel in mm where the file says them."""

    pixels: Float[np.ndarray, "h w"]
    spacing: tuple[float, float] | None = None


def read(path: Path) -> Radiograph:
    """Read a radiograph of 8 to 16 bits, grey or colour, by its content, whatever its name.

    A picture is turned as its EXIF orientation says. Of a DICOM file, rescaling and the first window (or look-up table)
    are applied, and MONOCHROME1 is inverted. Raises `ReadError`.
    """
    content = _content(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of decoders, about what they can read all the same
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            radiograph = _dicom(content) if _is_dicom(content) else _picture(content)
    except Exception as error:  # decoders raise many kinds for damaged files
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        raise ReadError(
            f"{path}: not a readable radiograph ({reason}); expected one image as PNG, JPEG, TIFF or DICOM"
        ) from error
    if not np.isfinite(radiograph.pixels).all():
        raise ReadError(f"{path}: expected finite pixel values, found infinite ones or none (NaN)")
    return radiograph


def looks_like_one(path: Path) -> bool:
    """Tell by its name or its first bytes whether a file means to be a radiograph."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start.startswith(BEGINNINGS) or _is_dicom(start)


def _content(path: Path) -> bytes:
    """Return the bytes of a regular file of a sane size."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ReadError(f"{path}: expected a file, found something else (a device or a pipe)")
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise ReadError(f"{path}: expected at most {MAX_BYTES} bytes, found {found.st_size}")
    return content


def _is_dicom(content: bytes) -> bool:
    return content[128:132] == b"DICM"


def _picture(content: bytes) -> Radiograph:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        _check_size(picture.height, picture.width)
        _check_single(getattr(picture, "n_frames", 1))
        picture.load()
        return Radiograph(_grey(ImageOps.exif_transpose(picture)))


def _grey(picture: Image.Image) -> Float[np.ndarray, "h w"]:
    """Return grey pixels, of colours the luminance (ITU-R 601); of 16 bits a colour the upper 8 count."""
    if picture.mode.startswith(("I", "F")):
        return np.asarray(picture).astype(np.float32)
    return np.asarray(picture.convert("L")).astype(np.float32)


def _dicom(content: bytes) -> Radiograph:
    dataset = pydicom.dcmread(io.BytesIO(content))
    modality = dataset.get("Modality", "") or ""
    if modality not in MODALITIES:
        raise ValueError(f"expected a projection radiograph ({', '.join(filter(None, MODALITIES))}), found {modality}")
    if "PixelData" not in dataset:
        raise ValueError("it has no pixels")
    _check_size(dataset.Rows, dataset.Columns)
    _check_single(int(dataset.get("NumberOfFrames", 1) or 1))
    meaning = dataset.PhotometricInterpretation
    if meaning not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"expected MONOCHROME1 or MONOCHROME2, found {meaning}")
    pixels = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset).astype(np.float32)
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise ValueError(f"expected {dataset.Rows}x{dataset.Columns} pixels, found {pixels.shape}")
    if meaning == "MONOCHROME1":
        pixels = pixels.max() + pixels.min() - pixels
    return Radiograph(pixels, _spacing(dataset))


def _spacing(dataset: pydicom.Dataset) -> tuple[float, float] | None:
    """Return PixelSpacing, which is calibrated, or else ImagerPixelSpacing, which is the detector's."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        values = dataset.get(name)
        if values and len(values) == 2 and all(np.isfinite(float(value)) and float(value) > 0 for value in values):
            return float(values[0]), float(values[1])
    return None


def _check_size(height: int, width: int) -> None:
    if not 0 < height * width <= MAX_PIXELS or min(height, width) < 1:
        raise ValueError(f"expected at most {MAX_PIXELS} pixels, found {width}x{height}")


def _check_single(frames: int) -> None:
    if frames != 1:
        raise ValueError(f"expected one image, found {frames} frames or pages")
