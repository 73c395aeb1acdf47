"""A TFDS dataset, prepared where it has not been, and loaded: trimmed, normalised, with the masks of one task."""

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int

from cxr_jax import devices
from cxr_jax.data.look import Look
from cxr_jax.data.radiographs import DATASETS, FOLDER, TASKS, Radiographs
from cxr_jax.errors import UserError
from tfds_builders.squares import resize

FIELD_MM = {"jsrt": 2048 * 0.175}  # side of the whole square image, where the publisher says it


class DatasetError(UserError):
    """A dataset that is not there or cannot be prepared; the message says what to do."""


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
    look: Look,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    *,
    folder: str | None = None,
    places: Int[np.ndarray, " m"] | None = None,
) -> Radiographs:
    """Load dataset `name` for `task`, its images as `look` shows them.

    With `places`, only the records at those of the prepared dataset (`cxr_jax.data.large` knows them) are loaded.
    Raises `DatasetError` where the images would be enlarged, and as `prepare` does.
    """
    builder = prepare(name, data_dir, manual_dir, folder)
    stored = builder.info.features["image"].shape[0]
    if look.image_size > stored:
        raise DatasetError(
            f"dataset {name!r} holds images of {stored}x{stored}: expected config.image_size to be that at most, found "
            f"{look.image_size}, to which they could only be blown up"
        )
    structures = structures_of(task, builder.info.features)
    rows = builder.as_data_source(split="train")
    loaded = [_load(rows[place], structures, look) for place in (range(len(rows)) if places is None else places)]
    ids, images, masks, sides, patients, annotated = zip(*sorted(loaded, key=itemgetter(0)), strict=True)
    return Radiographs(
        name=name if folder is None else f"{name} {folder}",
        images=np.stack(images),
        masks=np.stack(masks)[..., None].astype(np.uint8) if structures else None,
        ids=ids,
        spacing=np.stack(sides) * (FIELD_MM[name] / look.image_size) if name in FIELD_MM else None,
        patients=patients if "patient" in builder.info.features else None,
        annotated=np.array(annotated) if structures and not all(annotated) else None,
    )


def structures_of(task: str, features: Collection[str]) -> tuple[str, ...]:
    """Return the masks whose union is that of a task: one of the task's name or one of each part, or none of either."""
    choices = ((task,), TASKS[task])
    return next((names for names in choices if all(name in features for name in names)), ())


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
