"""Masks, overlays and measurements for a file or a folder of radiographs, with models of one or several organs."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import logging
from tqdm import tqdm

from cxr_jax import dicom_seg, files, inference, mask_files, measurements, reading
from cxr_jax.errors import UserError
from cxr_jax.inputs import TABLE, Input, find
from cxr_jax.isolation import IsolatedReader
from cxr_jax.predictor import Predictor
from tfds_builders.radiograph_files import Radiograph
from tfds_builders.squares import looks_blank

TOGETHER = 8  # radiographs that are predicted at once, at most
PIXELS = 64 * 10**6  # that are held before they are predicted, however few radiographs that is
MEASURED = (
    *(f"{organ}_area_{unit}" for organ in mask_files.COLOURS for unit in ("px", "mm2")),
    *(f"{organ}_width_{unit}" for organ in ("lungs", "heart") for unit in ("px", "mm")),
    "cardiothoracic_ratio",
    *(f"{organ}_expected_jaccard" for organ in mask_files.COLOURS),
)
FORMULAS = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes
COLUMNS = ("file", "status", "height", "width", *MEASURED)

Row = Mapping[str, object]
Chunk = list[tuple[Input, Radiograph]]


class PredictionError(UserError):
    """Something that predicting cannot start with; the message says what was expected and what to do."""


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
    and `a/b_overlay.png` in `output`; `measurements.csv` there has a line for each input. What cannot be read, and what
    cannot be written for an input, is named in the log and in the table. Raises `PredictionError`, before anything is
    read, where `output` cannot be written to, or files would be overwritten that `overwrite` does not give up;
    `cxr_jax.checkpoints.CheckpointError` as `cxr_jax.inference.restore_all` does; and `cxr_jax.inputs.InputError` where
    there is no input.
    """
    if mask_format == "dicom_seg" and not dicom_seg.available():
        raise PredictionError("masks as DICOM Segmentation need highdicom: pip install highdicom")
    inputs, unreachable = find(source, output)
    models = inference.restore_all(directories)
    if not overwrite:
        masks = [path for item in inputs for path in mask_files.paths(item.stem, models, mask_format)]
        _require_free([*masks, output / TABLE])
    _write_table(output / TABLE, [])  # at once, so that an output which cannot be written to is told soon
    rows = [_skipped(name, reason) for name, reason in unreachable.items()]
    try:
        for chunk in _read(inputs, rows):
            rows.extend(_draw(chunk, models, tidy, mask_format))
            chunk.clear()  # before the next one fills
    finally:
        _write_table(output / TABLE, rows)
    return sum(row["status"] != "ok" for row in rows)


def _require_free(paths: Sequence[Path]) -> None:
    taken = [path for path in paths if os.path.lexists(path)]
    if taken:
        raise PredictionError(
            f"{len(taken)} files are there already, the first {taken[0]}: give another --output, or --overwrite"
        )


def _read(inputs: Sequence[Input], rows: list[Row]) -> Iterator[Chunk]:
    """Yield the radiographs that can be read, as many at once as shall be held; the others go to the table's `rows`."""
    chunk: Chunk = []
    with IsolatedReader() as reader:
        for item in tqdm(inputs, desc="radiographs"):
            try:
                chunk.append((item, _not_blank(reader.read(item.path), item)))
            except reading.ReadError as error:
                rows.append(_skipped(item.name, error))
            if len(chunk) == TOGETHER or sum(radiograph.pixels.size for _, radiograph in chunk) >= PIXELS:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _not_blank(radiograph: Radiograph, item: Input) -> Radiograph:
    if fault := looks_blank(radiograph.pixels):
        raise reading.ReadError(f"{item.name}: {fault}")
    return radiograph


def _draw(chunk: Chunk, models: Mapping[str, Predictor], tidy: bool, mask_format: str) -> Iterator[Row]:
    """Write what belongs to each radiograph, and yield its line of the table."""
    images = [radiograph.pixels for _, radiograph in chunk]
    drawn = {organ: model.find(images, tidy=tidy, batch=TOGETHER) for organ, model in models.items()}
    for item, radiograph in chunk:
        found = {organ: next(masks) for organ, masks in drawn.items()}
        masks = {organ: its.mask for organ, its in found.items()}
        try:
            mask_files.write(item.stem, masks, radiograph, item.path, mask_format)
        except mask_files.MaskError as error:
            yield _skipped(item.name, error)
            continue
        height, width = radiograph.pixels.shape
        measured = measurements.measure(masks, radiograph.spacing)
        measured |= {f"{organ}_expected_jaccard": its.expected_jaccard for organ, its in found.items()}
        yield {"file": item.name, "status": "ok", "height": height, "width": width, **measured}


def _skipped(name: str, reason: object) -> Row:
    """Log that a file is skipped; return its line of the table."""
    logging.error("skipped: %s", reason)
    return {"file": name, "status": str(reason)}


def _write_table(path: Path, rows: Sequence[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: str(row["file"])):
        writer.writerow({name: _cell(value) for name, value in row.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text.getvalue())
    except OSError as error:
        raise PredictionError(
            f"expected as --output a folder to write to, found {path.parent} ({error.strerror}): give another, or "
            "make room"
        ) from error


def _cell(value: object) -> object:
    """Return a value as the table has it: no text that a spreadsheet takes for a formula, or that moves a cursor."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value)
    return f"./{printable}" if printable.startswith(FORMULAS) else printable
