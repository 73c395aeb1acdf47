"""Radiographs of one dataset as arrays, with the masks of one task; which datasets and tasks there are."""

import zlib
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, UInt8

from tfds_builders.organs import ORGANS
from tfds_builders.squares import FOLDER_SIDE, STORED_SIDE

TASKS = ORGANS
FOLDER = "radiograph_folder"  # the dataset that needs to be told where it lies
DATASETS = ("jsrt", "montgomery", "phantom/a", "phantom/b", "phantom/a_256", "phantom/b_256", FOLDER)


@dataclass(frozen=True)
class Radiographs:
    """Images of one dataset in [0, 255] and their masks in {0, 1}, in the order of their ids.

    `masks` is None where the dataset has no labels for the task (Montgomery's hearts, say). Where some images have a
    mask and others have not, `annotated` says which, and the masks of the others are blank; it is None where all are
    alike. `spacing` is the height and width of a pixel in mm, `patients` says whose each image is, both None where that
    is unknown.
    """

    name: str
    images: UInt8[np.ndarray, "n s s 1"]
    masks: UInt8[np.ndarray, "n s s 1"] | None
    ids: tuple[str, ...]
    spacing: Float[np.ndarray, "n 2"] | None = None
    patients: tuple[str, ...] | None = None
    annotated: Bool[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(self, indices: np.ndarray) -> "Radiographs":
        """Return the radiographs at `indices`, in that order."""
        arrays, names = (self.masks, self.spacing, self.annotated), (self.ids, self.patients)
        masks, spacing, annotated = (None if part is None else part[indices] for part in arrays)
        ids, patients = (None if part is None else tuple(part[i] for i in indices) for part in names)
        return Radiographs(self.name, self.images[indices], masks, ids, spacing, patients, annotated)

    @property
    def has_mask(self) -> Bool[np.ndarray, " n"]:
        """Which images have a mask."""
        return np.full(len(self), self.masks is not None) if self.annotated is None else self.annotated

    def with_masks(self) -> "Radiographs":
        """Return those that have a mask."""
        return self[np.flatnonzero(self.has_mask)]

    def with_other_masks(self, masks: UInt8[np.ndarray, "n s s 1"] | None) -> "Radiographs":
        """Return the same images with other masks, or with none."""
        return replace(self, masks=masks, annotated=None)

    def fingerprint(self) -> str:
        """Return a checksum of images, masks, ids and patients: equal data, equal string."""
        parts = [
            self.images.tobytes(),
            b"" if self.masks is None else self.masks.tobytes(),
            repr(self.ids).encode(),
            b"" if self.patients is None else repr(self.patients).encode(),
            b"" if self.annotated is None else self.annotated.tobytes(),
        ]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return f"{checksum:08x}"


def stored_side(name: str) -> int:
    """Return the side of the squares in which dataset `name` is prepared; a phantom is drawn at its own."""
    return FOLDER_SIDE if name == FOLDER else STORED_SIDE
