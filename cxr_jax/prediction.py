"""Masks, overlays and measurements for a file or a folder of radiographs, with models of one or several organs."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from absl import logging
from tqdm import tqdm

from cxr_jax import dicom_seg, inference, inversion, mask_files, measurements, reading
from cxr_jax.inputs import TABLE, Input, find
from cxr_jax.isolation import IsolatedReader
from cxr_jax.prediction_table import ABOUT, DONE, INVERTED, PredictionError, Table, called, describe, written_before
from cxr_jax.predictor import Predictor
from tfds_builders.radiograph_files import Radiograph
from tfds_builders.squares import looks_blank

TOGETHER = 8  # radiographs that are predicted at once, at most; a run has one number of them, compiled once
PIXELS = 64 * 10**6  # that are held before they are predicted, however few radiographs that is
TOLD = {True: "yes", False: "no", None: ""}  # how the table says what may not be known

Chunk = list[tuple[Input, Radiograph]]


def predict(
    directories: Sequence[Path],
    source: Path,
    output: Path,
    *,
    tidy: bool = True,
    mask_format: str = "png",
    overwrite: bool = False,
    resume: bool = False,
) -> int:
    """Write masks, an overlay and the measurements of each radiograph in `source`; return how many were skipped.

    `directories` are work directories or stages, each of a model of another organ. For an input `a/b.png` there are
    `a/b_ORGAN.png` (0 and 255, of the input's size) or, as `mask_format` says, `a/b_ORGAN.nii.gz` or `a/b_ORGAN.dcm`,
    and `a/b_overlay.png` in `output`; `measurements.csv` there has a line for each input, and `measurements.json` says
    what made them. What cannot be read, and what cannot be written for an input, is named in the log and in the table.
    With `resume`, inputs are left out whose masks the same models have written before. Raises, before anything is read,
    `PredictionError` where `output` cannot be written to, where files would be overwritten that `overwrite` does not
    give up, and where other models made what is to be resumed; `cxr_jax.checkpoints.CheckpointError` as
    `cxr_jax.inference.restore_all` does; and `cxr_jax.inputs.InputError` where there is no input.
    """
    if mask_format == "dicom_seg" and not dicom_seg.available():
        raise PredictionError("masks as DICOM Segmentation need highdicom: pip install highdicom")
    inputs, unreachable = find(source, output)
    models = inference.restore_all(directories)
    about = describe(models, source, tidy=tidy, mask_format=mask_format)
    before = written_before(output, about) if resume else {}
    outputs = {item: mask_files.paths(item.stem, models, mask_format) for item in inputs}
    if not (overwrite or (resume and (output / TABLE).exists())):
        _require_free([*(path for paths in outputs.values() for path in paths), output / TABLE, output / ABOUT])
    together = min(TOGETHER, len(inputs))
    kept = [item for item in inputs if called(item.name) in before and _is_newer(outputs[item], item)]
    with Table(output, about, [before[called(item.name)] for item in kept]) as table:
        for name, reason in unreachable.items():
            table.skip(name, reason)
        left = [item for item in inputs if called(item.name) not in table.done]
        for chunk in _read(left, together, table):
            _draw(chunk, together, models, tidy, mask_format, table)
            chunk.clear()  # before the next one fills
    _warn_of_inverted(table.files(INVERTED, TOLD[True]), len(table.done))
    for organ in models:
        _warn_of_implausible(organ, table.files(f"{organ}_plausible", TOLD[False]), len(table.done))
    skipped = [item for item in inputs if called(item.name) not in table.done]
    _remove(path for item in skipped for path in outputs[item])  # of an earlier run: nobody shall take it for theirs
    return len(skipped) + len(unreachable)


def _require_free(paths: Sequence[Path]) -> None:
    taken = [path for path in paths if os.path.lexists(path)]
    if taken:
        raise PredictionError(
            f"{len(taken)} files are there already, the first {taken[0]}: give another --output, or --overwrite, or "
            "--resume to go on with a run that was stopped"
        )


def _is_newer(paths: Iterable[Path], item: Input) -> bool:
    """Tell whether all files are there that belong to an input, and younger than it."""
    try:
        return min(path.stat().st_mtime for path in paths) >= item.path.stat().st_mtime
    except OSError:
        return False


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _read(inputs: Sequence[Input], together: int, table: Table) -> Iterator[Chunk]:
    """Yield the radiographs that can be read, as many at once as shall be held; the others are told in the table."""
    chunk: Chunk = []
    with IsolatedReader() as reader:
        for item in tqdm(inputs, desc="radiographs"):
            try:
                chunk.append((item, _not_blank(reader.read(item.path), item)))
            except reading.ReadError as error:
                table.skip(item.name, error)
            if len(chunk) == together or sum(radiograph.pixels.size for _, radiograph in chunk) >= PIXELS:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def _not_blank(radiograph: Radiograph, item: Input) -> Radiograph:
    if fault := looks_blank(radiograph.pixels):
        raise reading.ReadError(f"{item.name}: {fault}")
    return radiograph


def _draw(
    chunk: Chunk, together: int, models: Mapping[str, Predictor], tidy: bool, mask_format: str, table: Table
) -> None:
    """Write what belongs to each radiograph, and its line of the table."""
    images = [radiograph.pixels for _, radiograph in chunk]
    weights = {organ: model.fingerprint for organ, model in models.items()}
    drawn = {organ: model.find(images, tidy=tidy, batch=together) for organ, model in models.items()}
    seem = [TOLD[None]] * len(chunk)
    if lungs := models.get(inversion.ORGAN):
        found = list(drawn[inversion.ORGAN])
        inverted = inversion.inverted(lungs, images, found, tidy=tidy, batch=together)
        drawn[inversion.ORGAN], seem = iter(found), [TOLD[bool(one)] for one in inverted]
    for (item, radiograph), seems_inverted in zip(chunk, seem, strict=True):
        found = {organ: next(masks) for organ, masks in drawn.items()}
        masks = {organ: its.mask for organ, its in found.items()}
        try:
            mask_files.write(item.stem, masks, radiograph, item.path, mask_format, weights)
        except mask_files.MaskError as error:
            table.skip(item.name, error)
            continue
        height, width = radiograph.pixels.shape
        measured = measurements.measure(masks, radiograph.spacing)
        for organ, its in found.items():
            measured[f"{organ}_expected_jaccard"] = its.expected_jaccard
            measured[f"{organ}_plausible"] = TOLD[its.plausible]
        measured[INVERTED] = seems_inverted
        table.add({"file": item.name, "status": DONE, "height": height, "width": width, **measured})


def _warn_of_inverted(names: Sequence[str], count: int) -> None:
    if names:
        logging.warning(
            "%d of %d radiographs seem inverted, the first %s (%s in %s says which): their masks are probably wrong; "
            "look whether bones are dark where they should be bright, invert these files and predict them again",
            *(len(names), count, names[0], INVERTED, TABLE),
        )


def _warn_of_implausible(organ: str, names: Sequence[str], count: int) -> None:
    if names:
        logging.warning(
            "%s: %d of %d masks are most likely wrong, the first that of %s (%s_plausible in %s says which): they lack "
            "a part, have much beside their parts, or one far smaller, larger or elsewhere than any of the source's",
            *(organ, len(names), count, names[0], organ, TABLE),
        )
