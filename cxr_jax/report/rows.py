"""Results files that are lists of rows, one a cell of a table: read, checked, and added to."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from statistics import mean
from typing import Any

from cxr_jax import files
from cxr_jax.config import differences
from cxr_jax.statistics import PairedTest, paired_test

MADE = ("commit", "config", "data")  # how a row was made

Row = Mapping[str, Any]


class RowsError(ValueError):
    """A results file that is not of its table, or rows that may not stand in one table."""


@dataclass(frozen=True)
class Table:
    """How a table's file is named, and what its rows must hold."""

    name: str  # table1: of the file, and of the report's option
    identity: tuple[str, ...]  # the fields that tell cells apart
    required: tuple[str, ...]
    varying: tuple[str, ...]  # the fields of their configs in which cells may differ
    metrics: Mapping[str, tuple[str, ...]]  # fields of each metric, which is null where there are no labels
    config: str = ""  # whose runs leave such rows; by default that of the table's name
    also: tuple[tuple[str, str], ...] = ()  # second names of fields: the new one, and the one that it repeats

    @property
    def source(self) -> str:
        """The name of the config whose runs leave such rows, and of the file in their workdir."""
        return self.config or self.name

    @property
    def file(self) -> str:
        """The file's name in docs/results."""
        return f"{self.name}.json"

    @property
    def nothing(self) -> str:
        """What stands in place of a table without rows."""
        command = f"python -m cxr_jax.report --add-{self.name} WORKDIR"
        return f"No results are there yet: `{command}` adds those of a finished run."

    def key(self, row: Row) -> tuple:
        """Return what tells a cell from all others, in an order of its own."""
        return tuple("" if row[field] is None else row[field] for field in self.identity)

    def read(self, path: Path) -> list[Row]:
        """Return the rows of a file, none where there is no file.

        Raises `RowsError` where it is another kind of file, a field is missing or a cell stands there twice.
        """
        rows = files.read_json(path, [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RowsError(
                f"{path} is not a list of rows: expected the {self.source}.json that configs/{self.source}.py leaves; "
                "a single run is added with --add NAME=WORKDIR"
            )
        seen = set()
        for row in rows:
            missing = self._missing(row)
            if missing:
                raise RowsError(
                    f"{path}: a row lacks {', '.join(missing)}; run configs/{self.source}.py in its workdir again, "
                    "which keeps what is trained"
                )
            if self.key(row) in seen:
                raise RowsError(f"{path}: {self.key(row)} stands there twice; keep one")
            seen.add(self.key(row))
        return rows

    def add(self, workdir: Path, path: Path, *, mix: bool = False) -> None:
        """Put the rows of a finished run into `path`, in place of older rows of the same cells.

        Raises `RowsError` where there are none, for a faulty file, and, unless told to `mix`, where rows of one
        protocol and size are of several commits, configs or data; then it leaves `path` as it is.
        """
        found = workdir / f"{self.source}.json"
        if not found.exists():
            raise RowsError(
                f"there is no {found}: expected the workdir of a finished run of "
                f"configs/{self.source}.py; a single run is added with --add NAME=WORKDIR"
            )
        rows = {self.key(row): row for row in (*self.read(path), *self.read(found))}
        rows = {key: {**row, **{new: row[old] for new, old in self.also}} for key, row in rows.items()}
        found = [] if mix else self.mixtures(list(rows.values()))
        if found:
            raise RowsError(
                f"{path} would mix what was not made alike:\n  " + "\n  ".join(found) + "\n"
                "Make all cells of a protocol and size with one commit and config, or tell it to mix them (--mix)"
            )
        files.write_json(path, [rows[key] for key in sorted(rows)])

    def mixtures(self, rows: Sequence[Row]) -> list[str]:
        """Return a line for each way in which rows of one protocol and size were not made alike.

        Checksums of data are of images and masks, so that they are alike within a task alone.
        """
        first, found = {}, {}
        for row in rows:
            group = row["protocol"], row["image_size"]
            for name in MADE:
                alike = (*group, name, row["config"]["task"] if name == "data" else None)
                one, other = ({name: made[name]} for made in (first.setdefault(alike, row), row))
                for line in differences(one, other, f"{group[0]}, {group[1]} px"):
                    if not any(f".config.{name}." in f"{line.partition(':')[0]}." for name in self.varying):
                        found[line] = None
        return list(found)

    def compare(self, one: Row, other: Row) -> PairedTest:
        """Return the paired test of two cells' Jaccard; raise `RowsError` where their test images differ."""
        try:
            return paired_test(one["jaccard"]["per_image"], other["jaccard"]["per_image"])
        except ValueError as error:
            raise RowsError(f"{self.key(one)} and {self.key(other)} cannot stand in one table: {error}") from error

    def _missing(self, row: Row) -> list[str]:
        """Return the fields that a row lacks, those within its metrics as `metric.field`."""
        fields = [field for field in (*self.required, *self.metrics) if field not in row]
        return fields or [
            f"{metric}.{field}"
            for metric, names in self.metrics.items()
            for field in names
            if field not in (row[metric] or names)
        ]


def markdown_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def settings_table(
    rows: Sequence[Row],
    setting: Callable[[Row], Mapping[str, Hashable]],
    always: Sequence[str],
    head: Sequence[str],
    cells: Callable[[list[Row]], list[str]],
) -> str:
    """Return a table of rows, at least one: a line for all that have one `setting`, with what `cells` makes of them.

    A setting says its values by column; columns in which all rows are alike are left out, but for those of `always`.
    """
    found: dict[tuple, list[Row]] = {}
    for row in rows:
        found.setdefault(tuple(setting(row).values()), []).append(row)
    columns = dict(zip(setting(rows[0]), zip(*found, strict=True), strict=True))
    shown = [name in always or len(set(values)) > 1 for name, values in columns.items()]
    lines = [[*map(_printed, compress(values, shown)), *cells(alike)] for values, alike in sorted(found.items())]
    return markdown_table([*compress(columns, shown), *head], lines)


def _printed(value: Hashable) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def with_spread_over_seeds(rows: Sequence[Row], metric: str) -> str:
    """Return a metric's mean over images and its spread over them, each as the mean of the rows' seeds."""
    return with_spread(*(mean(row[metric][part] for row in rows) for part in ("mean", "std")))


def printed_test(test: PairedTest, p_holm: float) -> list[str]:
    """Return the cells of a paired test: difference in points, Holm's p, effect, number of images."""
    p = f"{p_holm:.4f}" if p_holm >= 0.0001 else "< 0.0001"
    return [f"{test.difference:+.2f}", p, f"{test.effect:+.2f}", str(test.count)]


def with_spread(mean: float, deviation: float | None) -> str:
    """Return a mean and its spread as they are printed."""
    return f"{mean:.2f}" + ("" if deviation is None else f" ± {deviation:.2f}")
