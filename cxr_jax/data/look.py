"""How the images of a dataset are shown: trimmed or not, as they are or negated, their tones stretched or equalised."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from tfds_builders.squares import FRAME_LEVEL, resize

WHOLE = slice(None), slice(None)


class Look(NamedTuple):
    """How images are shown: as squares of `image_size` pixels, with or without black frame, as they are or negated.

    Their `tones` are one of `TONES`.
    """

    image_size: int
    trim: bool = True
    negate: bool = False
    tones: str = "stretched"

    def frame(self, image: Shaped[np.ndarray, "h w 1"]) -> tuple[slice, slice]:
        """Return what is shown of an image."""
        return body_frame(image[..., 0]) if self.trim else WHOLE

    def __call__(self, image: Shaped[np.ndarray, "h w 1"]) -> UInt8[np.ndarray, "s s 1"]:
        """Return an image as it is shown."""
        shown = TONES[self.tones](resize(image[self.frame(image)][..., 0], self.image_size))[..., None]
        return 255 - shown if self.negate else shown


def body_frame(image: Shaped[np.ndarray, "h w"]) -> tuple[slice, slice]:
    """Return the bounding box of the pixels above 5 % of the maximum: the image without its black frame.

    An image that is black throughout keeps its whole frame.
    """
    bright: Bool[np.ndarray, "h w"] = image > FRAME_LEVEL * image.max()
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    if not len(rows):
        return WHOLE
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def normalise(image: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Stretch an image from its own minimum and maximum to 0 and 255; a constant image becomes 0."""
    low, high = float(image.min()), float(image.max())
    if high <= low:
        return np.zeros(image.shape, np.uint8)
    return np.rint((image - low) * (255.0 / (high - low))).astype(np.uint8)


def equalise(image: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """Show each pixel by its rank among the image's: as many dark as bright ones; a constant image becomes 0.

    What a scanner's own curve did to the tones is undone, as far as its images have the same content.
    """
    _, tones, counts = np.unique(image, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # of equal pixels the mean
    return normalise(ranks[tones].reshape(image.shape))


TONES = {"stretched": normalise, "equalised": equalise}
