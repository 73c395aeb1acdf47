"""The table beside predicted masks, a line for each input, and what made it; both are read again to go on."""

import csv
import io
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from absl import logging

from cxr_jax import files, mask_files, provenance
from cxr_jax.errors import UserError
from cxr_jax.inputs import TABLE
from cxr_jax.predictor import Predictor

ABOUT = "measurements.json"
MEASURED = (
    *(f"{organ}_area_{unit}" for organ in mask_files.COLOURS for unit in ("px", "mm2")),
    *(f"{organ}_width_{unit}" for organ in ("lungs", "heart") for unit in ("px", "mm")),
    "cardiothoracic_ratio",
    *(f"{organ}_{told}" for organ in mask_files.COLOURS for told in ("plausible", "expected_jaccard")),
)
FORMULAS = ("=", "+", "-", "@")  # what a cell begins with that a spreadsheet computes
INVERTED = "seems_inverted"
COLUMNS = ("file", "status", "height", "width", INVERTED, *MEASURED)
SAVE_EVERY = 30.0  # seconds
DONE = "ok"  # the status of an input whose masks are written

Row = Mapping[str, object]


class PredictionError(UserError):
    """Something that predicting cannot start with; the message says what was expected and what to do."""


def describe(models: Mapping[str, Predictor], source: Path, *, tidy: bool, mask_format: str) -> dict[str, object]:
    """Return what makes masks: the models by their organ, each with what trained it, of what, and how it is written."""
    return {
        "models": {
            organ: {
                "weights": model.fingerprint,
                "shape": None if model.shape is None else model.shape.plain(),
                "stage": model.stage,
                "epoch": model.epoch,
                "trained": model.made,
            }
            for organ, model in models.items()
        },
        "input": str(source.resolve()),
        "tidy": tidy,
        "mask_format": mask_format,
        "made": provenance.here(),
    }


class Table:
    """The lines of inputs, on disk too: from the start, each half minute and at the end. A context manager."""

    def __init__(self, output: Path, about: Mapping[str, object], rows: Iterable[Row] = ()):
        """Begin with some lines; nothing is written yet."""
        self._rows = list(rows)
        self.done = {called(str(row["file"])) for row in self._rows if row["status"] == DONE}  # whose masks are written
        self._output, self._about, self._saved = output, about, 0.0

    def __enter__(self) -> "Table":
        """Write what is there, so that an `output` that cannot be written to is told soon; return it."""
        with self._writing():
            self._output.mkdir(parents=True, exist_ok=True)
            if not self._rows:
                (self._output / TABLE).unlink(missing_ok=True)  # no moment at which it stands beside another's `about`
            files.write_json(self._output / ABOUT, self._about)
        self.save()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Write the table, whatever happened; if that fails too, what happened first is raised."""
        with suppress(*() if error is None else (PredictionError,)):
            self.save()

    def add(self, row: Row) -> None:
        """Add the line of an input."""
        self._rows.append(row)
        if row["status"] == DONE:
            self.done.add(called(str(row["file"])))
        if time.monotonic() > self._saved + SAVE_EVERY:
            self.save()

    def skip(self, name: str, reason: object) -> None:
        """Log that an input is skipped, and add its line."""
        logging.error("skipped: %s", reason)
        self.add({"file": name, "status": str(reason)})

    def files(self, column: str, value: str) -> list[str]:
        """Return the files whose lines have that value in that column, in order."""
        return sorted(str(row["file"]) for row in self._rows if row.get(column) == value)

    def save(self) -> None:
        """Write the lines in the order of their files; raise `PredictionError` if that fails."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        for row in sorted(self._rows, key=lambda row: str(row["file"])):
            writer.writerow({name: _cell(value) for name, value in row.items()})
        with self._writing():
            files.write(self._output / TABLE, text.getvalue())
        self._saved = time.monotonic()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PredictionError(
                f"expected as --output a folder to write to, found {self._output} ({error.strerror}): give another, or "
                "make room"
            ) from error


def written_before(output: Path, about: Mapping[str, object]) -> dict[str, Row]:
    """Return the lines of inputs whose masks an earlier run has written, as they are `called`; none without such a run.

    Raises `PredictionError` where something else made them than what this run is `about`, or that cannot be told.
    """
    if not (output / TABLE).exists():
        return {}
    try:
        found = _made(json.loads((output / ABOUT).read_text()))
        with (output / TABLE).open(newline="") as file:
            lines = [{name: row[name] for name in COLUMNS} for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PredictionError(
            f"expected in {output} the {TABLE} and {ABOUT} of the run to go on with, as this version leaves them; "
            f"found others ({error!r}): give another --output, or --overwrite"
        ) from error
    if differing := [what for what, other in _made(about).items() if found.get(what) != other]:
        raise PredictionError(
            f"{output} holds masks that were made otherwise ({', '.join(differing)}): expected those of the same "
            "models, --input, --tidy and --mask_format to go on with; give another --output, or --overwrite"
        )
    return {str(line["file"]): line for line in lines if line["status"] == DONE}


def called(name: str) -> str:
    """Return the name of a file as the table has it."""
    return str(_cell(name))


def _made(about: Mapping[str, object]) -> dict[str, object]:
    """Return what must be the same for masks to be."""
    models = {f"model of {organ}": (model["weights"], model["shape"]) for organ, model in about["models"].items()}
    return models | {name: about.get(name) for name in ("input", "tidy", "mask_format")} | {"organs": sorted(models)}


def _cell(value: object) -> object:
    """Return a value as the table has it: no text that a spreadsheet takes for a formula, or that moves a cursor."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if not isinstance(value, str):
        return value
    printable = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in value)
    return f"./{printable}" if printable.startswith(FORMULAS) else printable
