"""Radiographs and masks as the squares in which datasets are stored."""

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from PIL import Image

STORED_SIDE = 256  # of the squares in which datasets are kept, unless another of their configs is asked for
FOLDER_SIDE = 512  # of those in which a `radiograph_folder` is
LEAST_SIDE = 32  # of a radiograph, in pixels
FRAME_LEVEL = 0.05  # of the brightest pixel: what is darker is black, and may be a frame
LEAST_LIT = 0.05  # of a radiograph's pixels: a share that is not black


def resize(image: np.ndarray, size: int | tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Resize an image (h w) to a square of `size` pixels, or to (height, width), as float32.

    Shrinking averages the area that a new pixel covers; enlarging is bilinear.
    """
    height, width = (size, size) if isinstance(size, int) else size
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((width, height), method))


def square_radiograph(image: Float[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Resize a radiograph in [0, 255] to a square, as the paper does, whatever its aspect."""
    return np.rint(resize(image, size)).astype(np.uint8)[..., None]


def stored_square(image: Shaped[np.ndarray, "h w"], size: int = STORED_SIDE) -> UInt8[np.ndarray, "size size 1"]:
    """Resize a radiograph of any depth to a square whose brightest pixel is 255, and 0 black: as a folder's are stored.

    The depth that a file has says nothing of the depth that it uses. Pixels below 0, as Hounsfield units have, move the
    black there.
    """
    image = np.asarray(image, np.float32)
    square = resize(image - min(image.min(), 0), size)
    return np.rint(square * (255 / (square.max() or 1))).astype(np.uint8)[..., None]


def looks_blank(image: Shaped[np.ndarray, "h w"]) -> str:
    """Return what is wrong with an image that is too small, the same all over or black but for a spot; else nothing.

    Beside a spot twenty times as bright as the rest, a marker say, the rest would pass for a black frame.
    """
    height, width = image.shape
    if min(image.shape) < LEAST_SIDE or image.min() == image.max():
        values = f" of {image.min():g} to {image.max():g}" if image.size else ""
        return f"expected a radiograph, found {width}x{height} pixels{values}"
    square = stored_square(image)
    lit = float((square > FRAME_LEVEL * square.max()).mean())
    if lit < LEAST_LIT:
        return (
            f"expected a radiograph, found {100 * (1 - lit):.0f} % of it darker than {100 * FRAME_LEVEL:g} % of its "
            f"brightest pixel, {image.max():g}: cap what is that bright, a marker say, at the anatomy's brightest"
        )
    return ""


def square_mask(mask: Bool[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Resize a mask to a square; a pixel is foreground (1) where at least half of it was."""
    return (resize(mask, size) >= 0.5).astype(np.uint8)[..., None]
