"""A folder's radiographs and masks as squares."""

import numpy as np
from jaxtyping import UInt8

from tfds_builders import image_files, radiograph_files
from tfds_builders.image_files import DownloadError, File

MASKS = ("PNG", "TIFF")
LEAST_SIDE = 32  # of a radiograph, in pixels


def read_radiograph(file: File, size: int) -> tuple[tuple[int, int], UInt8[np.ndarray, "size size 1"]]:
    """Return height and width of a radiograph, and a square of it whose brightest pixel is 255, and 0 black.

    The depth that a file is stored in says nothing of the depth that it uses. Raises `DownloadError` where it cannot be
    read, is too small or the same all over.
    """
    pixels = radiograph_files.read(file).pixels
    height, width = pixels.shape
    if min(pixels.shape) < LEAST_SIDE or pixels.min() == pixels.max():
        raise DownloadError(
            f"{file.name}: expected a radiograph, found {width}x{height} pixels of "
            f"{pixels.min():g} to {pixels.max():g}; {file.remedy}"
        )
    square = image_files.resize(pixels - min(pixels.min(), 0), size)  # Hounsfield-like DICOM values go below 0
    return (height, width), np.rint(square * (255 / square.max())).astype(np.uint8)[..., None]


def read_mask(file: File, shape: tuple[int, int], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Return a square of the mask of a radiograph of height and width `shape`; raise `DownloadError` if it is none."""
    return image_files.square_mask(image_files.read_mask(file, shape, MASKS), size)
