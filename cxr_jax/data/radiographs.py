"""A prepared TFDS dataset as arrays: trimmed, normalised, with the masks of one task."""

import importlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float, Shaped, UInt8

from tfds_builders.image_files import resize

TASKS = {
    "lungs": ("left_lung", "right_lung"),
    "heart": ("heart",),
    "clavicles": ("left_clavicle", "right_clavicle"),
}
DATASETS = ("jsrt", "montgomery", "phantom/a", "phantom/b", "phantom/a_256", "phantom/b_256")

FIELD_MM = {"jsrt": 2048 * 0.175}  # side of the whole square image, where the publisher says it

FRAME_LEVEL = 0.05  # of an image's maximum: rows and columns that never exceed it are a black frame
WHOLE = slice(None), slice(None)


class DatasetError(ValueError):
    """A dataset that is not there or cannot be prepared; the message says what to do."""


@dataclass(frozen=True)
class Radiographs:
    """Images of one dataset in [0, 255] and their masks in {0, 1}, in the order of their ids.

    `masks` is None where the dataset has no labels for the task (Montgomery's hearts, say); `spacing` is the
    height and width of a pixel in mm, None where the dataset's are unknown.
    """

    name: str
    images: UInt8[np.ndarray, "n s s 1"]
    masks: UInt8[np.ndarray, "n s s 1"] | None
    ids: tuple[str, ...]
    spacing: Float[np.ndarray, "n 2"] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)

    def __getitem__(self, indices: np.ndarray) -> "Radiographs":
        """Return the radiographs at `indices`, in that order."""
        masks, spacing = (None if part is None else part[indices] for part in (self.masks, self.spacing))
        return Radiographs(self.name, self.images[indices], masks, tuple(self.ids[i] for i in indices), spacing)

    def fingerprint(self) -> str:
        """Return a checksum of images, masks and ids: equal data, equal string."""
        parts = [
            self.images.tobytes(),
            b"" if self.masks is None else self.masks.tobytes(),
            repr(self.ids).encode(),
        ]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return f"{checksum:08x}"


def prepare(name: str, data_dir: str | None, manual_dir: str | None) -> tfds.core.DatasetBuilder:
    """Return the builder of dataset `name`, preparing it in `data_dir` where that has not been done.

    `manual_dir` is the folder with one sub-folder of official downloads a dataset; TFDS's own default is
    `DATA_DIR/downloads/manual`. Raises `DatasetError` where the downloads are missing or damaged.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown dataset {name!r}: expected one of {', '.join(DATASETS)}")
    package = name.split("/")[0]
    importlib.import_module(f"tfds_builders.{package}.{package}_dataset_builder")
    builder = tfds.builder(name, data_dir=data_dir)
    if builder.is_prepared():
        return builder
    downloads = tfds.download.DownloadConfig()
    if manual_dir is not None:
        downloads = tfds.download.DownloadConfig(manual_dir=Path(manual_dir) / package)
    try:
        builder.download_and_prepare(file_format="array_record", download_config=downloads)
    except (AssertionError, FileNotFoundError, ValueError) as error:
        raise DatasetError(f"dataset {name!r} could not be prepared: {error}") from error
    return builder


def load(
    name: str,
    task: str,
    image_size: int,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    trim: bool = True,
    negate: bool = False,
) -> Radiographs:
    """Load dataset `name` for `task`: images trimmed unless `trim` is off, resized, normalised, negated on demand."""
    structures = TASKS[task]
    builder = prepare(name, data_dir, manual_dir)
    labelled = all(structure in builder.info.features for structure in structures)
    rows = sorted(builder.as_data_source(split="train"), key=lambda row: row["id"])
    images, masks, sides = [], [], []
    for row in rows:
        image = row["image"]
        frame = body_frame(image[..., 0]) if trim else WHOLE
        trimmed = image[frame]
        sides.append(np.divide(trimmed.shape[:2], image.shape[:2]))
        images.append(normalise(resize(trimmed[..., 0], image_size)))
        if labelled:
            union = np.any([row[structure][frame][..., 0] for structure in structures], axis=0)
            masks.append(resize(union.astype(np.float32), image_size) >= 0.5)
    return Radiographs(
        name=name,
        images=np.stack([255 - image if negate else image for image in images])[..., None],
        masks=np.stack(masks)[..., None].astype(np.uint8) if labelled else None,
        ids=tuple(row["id"].decode() if isinstance(row["id"], bytes) else row["id"] for row in rows),
        spacing=np.stack(sides) * (FIELD_MM[name] / image_size) if name in FIELD_MM else None,
    )


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
