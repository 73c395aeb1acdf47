"""Masks, overlays and measurements for a file or a folder of radiographs, with models of one or several organs."""

import csv
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from absl import logging
from jaxtyping import Bool, Float, UInt8
from tqdm import tqdm

from cxr_jax import dicom_seg, files, inference, measurements, pictures, reading
from cxr_jax.isolation import IsolatedReader
from cxr_jax.mask_files import FORMATS
from tfds_builders import radiograph_files
from tfds_builders.radiograph_files import Radiograph

TABLE = "measurements.csv"
TOGETHER = 8  # radiographs that are held at once
SHOWN = 1024  # longest side of an overlay, in pixels
COLOURS = {"lungs": (64, 160, 255), "heart": (255, 64, 64), "clavicles": (255, 200, 0)}
MEASURED = (
    *(f"{organ}_area_{unit}" for organ in COLOURS for unit in ("px", "mm2")),
    *(f"{organ}_width_{unit}" for organ in ("lungs", "heart") for unit in ("px", "mm")),
    "cardiothoracic_ratio",
)
FORMULAS = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes
COLUMNS = ("file", "status", "height", "width", *MEASURED)

Masks = Mapping[str, Bool[np.ndarray, "h w"]]


class PredictionError(ValueError):
    """Something that predicting cannot start with; the message says what was expected and what to do."""


@dataclass(frozen=True)
class Input:
    """A file to read, how the table calls it, and the start of the paths of what is written for it."""

    path: Path
    name: str
    stem: Path


def predict(
    directories: Sequence[Path],
    source: Path,
    output: Path,
    *,
    tidy: bool = True,
    mask_format: str = "png",
    overwrite: bool = False,
) -> int:
    """Write masks, an overlay and the measurements of each radiograph in `source`; return how many were skipped.

    `directories` are work directories or stages, each of a model of another organ. For an input `a/b.png` there are
    `a/b_ORGAN.png` (0 and 255, of the input's size) or, as `mask_format` says, `a/b_ORGAN.nii.gz` or `a/b_ORGAN.dcm`,
    and `a/b_overlay.png` in `output`; `measurements.csv` there has a line for each input. What cannot be read is named
    in the log and in the table. Raises `PredictionError`, before anything is read, where there is no input, two models
    draw one organ, or files would be overwritten that `overwrite` does not give up.
    """
    if mask_format == "dicom_seg" and not dicom_seg.available():
        raise PredictionError("masks as DICOM Segmentation need highdicom: pip install highdicom")
    models = restore_all(directories)
    inputs = find(source, output)
    if not overwrite:
        _require_free([path for i in inputs for path in _outputs(i, models, mask_format)] + [output / TABLE])
    output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    try:
        for chunk in _read(inputs, rows):
            drawn = {
                organ: model.masks((radiograph.pixels for _, radiograph in chunk), tidy=tidy, batch=TOGETHER)
                for organ, model in models.items()
            }
            for item, radiograph in chunk:
                masks = {organ: next(found) for organ, found in drawn.items()}
                try:
                    _write(item, radiograph, masks, mask_format)
                except dicom_seg.SegmentationError as error:
                    rows.append(_skipped(item, error))
                    continue
                height, width = radiograph.pixels.shape
                measured = measurements.measure(masks, radiograph.spacing)
                rows.append({"file": item.name, "status": "ok", "height": height, "width": width, **measured})
    finally:
        _write_table(output / TABLE, sorted(rows, key=lambda row: str(row["file"])))
    return sum(row["status"] != "ok" for row in rows)


def restore_all(directories: Sequence[Path]) -> dict[str, inference.Predictor]:
    """Return the models by the organ that each draws; raise `PredictionError` where two draw the same."""
    models = {}
    for directory in directories:
        model = inference.restore(directory)
        organ = model.experiment.task
        if organ in models:
            raise PredictionError(f"{directory} draws {organ}, as another checkpoint does: give one for each organ")
        models[organ] = model
    return models


def find(source: Path, output: Path) -> list[Input]:
    """Return what is to be read: a file, or whatever in a folder and its sub-folders means to be a radiograph.

    Links that lead out of the folder are not followed, and nothing in `output` is read. Where two files of a folder
    differ in their suffix alone, what is written for them has that in its name: `b_png_lungs.png`, `b_dcm_lungs.png`.
    """
    if source.is_file():
        return [Input(source, source.name, output / source.stem)]
    if not source.is_dir():
        raise PredictionError(f"there is no {source}: expected a radiograph or a folder of them")
    paths = [
        path
        for folder, _, names in sorted(os.walk(source))
        if output.resolve() not in (Path(folder).resolve(), *Path(folder).resolve().parents)
        for path in (Path(folder, name) for name in sorted(names))
        if path.resolve().is_relative_to(source.resolve()) and path.is_file() and reading.looks_like_one(path)
    ]
    if not paths:
        raise PredictionError(
            f"{source} holds no radiograph: expected {', '.join(radiograph_files.SUFFIXES)}, or other DICOM files"
        )
    stems = Counter(path.with_suffix("") for path in paths)
    found = []
    for path in paths:
        relative = path.relative_to(source)
        alone = stems[path.with_suffix("")] == 1
        name = path.stem if alone else path.name.replace(".", "_")
        found.append(Input(path, str(relative), output / relative.parent / name))
    return found


def _outputs(item: Input, organs: Mapping[str, object], mask_format: str) -> list[Path]:
    """Return the paths of an input's masks, in the order of the organs, and of its overlay."""
    names = [*(f"_{organ}{FORMATS[mask_format].suffix}" for organ in organs), "_overlay.png"]
    return [item.stem.with_name(item.stem.name + name) for name in names]


def _require_free(paths: Sequence[Path]) -> None:
    taken = [path for path in paths if path.exists()]
    if taken:
        raise PredictionError(
            f"{len(taken)} files are there already, the first {taken[0]}: give another --output, or --overwrite"
        )


def _read(inputs: Sequence[Input], rows: list[dict[str, object]]) -> Iterator[list[tuple[Input, Radiograph]]]:
    """Yield the radiographs that can be read, several at once; the others go to the table's `rows`."""
    with IsolatedReader() as reader:

        def readable() -> Iterator[tuple[Input, Radiograph]]:
            for item in tqdm(inputs, desc="radiographs"):
                try:
                    yield item, reader.read(item.path)
                except reading.ReadError as error:
                    rows.append(_skipped(item, error))

        remaining = readable()
        while chunk := list(itertools.islice(remaining, TOGETHER)):
            yield chunk


def _skipped(item: Input, error: Exception) -> dict[str, object]:
    """Log that a file is skipped; return its line of the table."""
    logging.error("skipped: %s", error)
    return {"file": item.name, "status": str(error)}


def _write(item: Input, radiograph: Radiograph, masks: Masks, mask_format: str) -> None:
    encode = FORMATS[mask_format].encode
    contents = [encode(mask, organ, radiograph, item.path) for organ, mask in masks.items()]
    *paths, overlay = _outputs(item, masks, mask_format)
    overlay.parent.mkdir(parents=True, exist_ok=True)
    for path, content in zip(paths, contents, strict=True):
        files.write(path, content)
    pictures.save(_overlay(radiograph.pixels, masks), overlay)


def _overlay(pixels: Float[np.ndarray, "h w"], masks: Masks) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return a radiograph, made smaller if it is large, with the outlines of its masks."""
    step = max(1, -(-max(pixels.shape) // SHOWN))
    shown = pixels[::step, ::step]
    grey = inference.normalise(shown)[None, ..., None]
    return pictures.outlined_in_colours(grey, {COLOURS[o]: m[None, ::step, ::step, None] for o, m in masks.items()})[0]


def _write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
    files.write(path, text.getvalue())


def _cell(value: object) -> object:
    """Return a value as the table has it: no text that a spreadsheet takes for a formula, or that moves a cursor."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value)
    return f"./{printable}" if printable.startswith(FORMULAS) else printable
