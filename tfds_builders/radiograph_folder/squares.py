"""A folder's radiographs and masks as squares."""

import numpy as np
from jaxtyping import UInt8

from tfds_builders import image_files, radiograph_files
from tfds_builders.image_files import DownloadError, File
from tfds_builders.squares import looks_blank, square_mask, stored_square

MASKS = ("PNG", "TIFF")


def read_radiograph(file: File, size: int) -> tuple[tuple[int, int], UInt8[np.ndarray, "size size 1"]]:
    """Return height and width of a radiograph, and its `tfds_builders.squares.stored_square`.

    Raises `DownloadError` where it cannot be read, is too small, the same all over or black but for a spot.
    """
    pixels = radiograph_files.read(file).pixels
    if fault := looks_blank(pixels):
        raise DownloadError(f"{file.name}: {fault}; {file.remedy}")
    return pixels.shape, stored_square(pixels, size)


def read_mask(file: File, shape: tuple[int, int], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Return a square of the mask of a radiograph of height and width `shape`; raise `DownloadError` if it is none."""
    return square_mask(image_files.read_mask(file, shape, MASKS), size)
