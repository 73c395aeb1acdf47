"""A prepared TFDS dataset as arrays: trimmed, normalised, with the masks of one task."""

import importlib
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from scipy.stats import rankdata

from cxr_jax import devices
from cxr_jax.errors import UserError
from tfds_builders.organs import ORGANS
from tfds_builders.squares import FOLDER_SIDE, FRAME_LEVEL, STORED_SIDE, resize

TASKS = ORGANS
FOLDER = "radiograph_folder"  # the dataset that needs to be told where it lies
DATASETS = ("jsrt", "montgomery", "phantom/a", "phantom/b", "phantom/a_256", "phantom/b_256", FOLDER)

FIELD_MM = {"jsrt": 2048 * 0.175}  # side of the whole square image, where the publisher says it

WHOLE = slice(None), slice(None)


class DatasetError(UserError):
    """A dataset that is not there or cannot be prepared; the message says what to do."""


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


def prepare(
    name: str, data_dir: str | None, manual_dir: str | None, folder: str | None = None
) -> tfds.core.DatasetBuilder:
    """Return the builder of dataset `name`, preparing it in `data_dir` where that has not been done.

    `manual_dir` is the folder with one sub-folder of official downloads a dataset; TFDS's own default is
    `DATA_DIR/downloads/manual`. `folder` is where a `radiograph_folder` lies. Another process may prepare the same at
    the same time. Raises `DatasetError` where the downloads are missing or damaged, or something is wrong with the
    folder.
    """
    if name not in DATASETS:
        raise DatasetError(f"unknown dataset {name!r}: expected one of {', '.join(DATASETS)}")
    if (name == FOLDER) != (folder is not None):
        raise DatasetError(f"expected a folder for dataset {FOLDER!r} and for no other; found {folder!r} for {name!r}")
    package = name.split("/")[0]
    module = importlib.import_module(f"tfds_builders.{package}.{package}_dataset_builder")
    downloads = tfds.download.DownloadConfig()
    if manual_dir is not None:
        downloads = tfds.download.DownloadConfig(manual_dir=Path(manual_dir) / package)
    try:
        which = {} if folder is None else {"config": module.RadiographFolderConfig(folder=folder)}
        builder = partial(tfds.builder, name, data_dir=data_dir, **which)
        with devices.primary_first(f"prepare {name}"):
            if not builder().is_prepared():
                _write(builder, downloads)
        return builder()
    except (AssertionError, OSError, ValueError) as error:
        raise DatasetError(f"dataset {name!r} could not be prepared: {error}") from error


def _write(builder: Callable[[], tfds.core.DatasetBuilder], downloads: tfds.download.DownloadConfig) -> None:
    """Write the records of a dataset, or leave it at those that another process has finished in the meantime."""
    try:
        builder().download_and_prepare(file_format="array_record", download_config=downloads)
    except OSError:
        if not builder().is_prepared():
            raise


def load(
    name: str,
    task: str,
    image_size: int,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    *,
    trim: bool = True,
    negate: bool = False,
    tones: str = "stretched",
    folder: str | None = None,
    places: Int[np.ndarray, " m"] | None = None,
) -> Radiographs:
    """Load dataset `name` for `task`, its images as a `Look` of these values shows them.

    With `places`, only the records at those of the prepared dataset (`cxr_jax.data.large` knows them) are loaded.
    Raises `DatasetError` where the images would be enlarged, and as `prepare` does.
    """
    builder = prepare(name, data_dir, manual_dir, folder)
    stored = builder.info.features["image"].shape[0]
    if image_size > stored:
        raise DatasetError(
            f"dataset {name!r} holds images of {stored}x{stored}: expected config.image_size to be that at most, found "
            f"{image_size}, to which they could only be blown up"
        )
    structures = structures_of(task, builder.info.features)
    rows = builder.as_data_source(split="train")
    look = Look(image_size, trim, negate, tones)
    loaded = [_load(rows[place], structures, look) for place in (range(len(rows)) if places is None else places)]
    ids, images, masks, sides, patients, annotated = zip(*sorted(loaded, key=itemgetter(0)), strict=True)
    return Radiographs(
        name=name if folder is None else f"{name} {folder}",
        images=np.stack(images),
        masks=np.stack(masks)[..., None].astype(np.uint8) if structures else None,
        ids=ids,
        spacing=np.stack(sides) * (FIELD_MM[name] / image_size) if name in FIELD_MM else None,
        patients=patients if "patient" in builder.info.features else None,
        annotated=np.array(annotated) if structures and not all(annotated) else None,
    )


def stored_side(name: str) -> int:
    """Return the side of the squares in which dataset `name` is prepared; a phantom is drawn at its own."""
    return FOLDER_SIDE if name == FOLDER else STORED_SIDE


def structures_of(task: str, features: Collection[str]) -> tuple[str, ...]:
    """Return the masks whose union is that of a task: one of the task's name or one of each part, or none of either."""
    choices = ((task,), TASKS[task])
    return next((names for names in choices if all(name in features for name in names)), ())


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


def _load(row: Mapping[str, Any], structures: Sequence[str], look: Look) -> tuple[Any, ...]:
    """Return a row's id, image, mask, sides (as shares of the whole image's) and patient, and whether it is annotated.

    What it lacks is None.
    """
    image = row["image"]
    frame = look.frame(image)
    mask = None
    if structures:
        union = np.any([row[structure][frame][..., 0] for structure in structures], axis=0)
        mask = resize(union.astype(np.float32), look.image_size) >= 0.5
    sides = np.divide(image[frame].shape[:2], image.shape[:2])
    annotated = all(row.get(f"has_{structure}", True) for structure in structures)
    return (
        text(row["id"]),
        look(image),
        mask,
        sides,
        text(row.get("patient")),
        annotated,
    )


def text(value: str | bytes | None) -> str | None:
    """Return a text as a prepared dataset gives it, or None, as Python has it."""
    return value.decode() if isinstance(value, bytes) else value


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
    return normalise(rankdata(image).reshape(image.shape))


TONES = {"stretched": normalise, "equalised": equalise}
