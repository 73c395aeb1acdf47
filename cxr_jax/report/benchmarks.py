"""The table of docs/PERFORMANCE.md, from the rows of `docs/results/benchmarks.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_jax.report.rows import markdown_table

FILE = "benchmarks.json"
FORMS = "convolution"
UNITS = {"ms": "ms", "mib": "MiB", "percent": "%"}
HEAD = ("benchmark", "what", "device", "ours", "peer", "the peer's", "ratio")
NOTHING = "No results are there yet: each command above adds its own."


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a line for each row, and one of the forms of a convolution, which are many."""
    if not rows:
        return NOTHING
    forms = [row for row in rows if row["benchmark"] == FORMS]
    tables = [markdown_table(HEAD, [_line(row) for row in rows if row["benchmark"] != FORMS])]
    return "\n\n".join([*tables, *(_forms(forms) if forms else ())])


def _forms(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return heading and table of convolutions: a line for each form, a column for each shape."""
    sizes, lines = {}, {}
    for row in rows:
        form, shape = (row["shape"][name] for name in ("form", "channels"))
        column = f"{shape}, size {row['shape']['size']}, batch {row['shape']['batch']}"
        sizes[column] = row["shape"]["size"]
        line = lines.setdefault((row["device"], row["shape"]["what"], form.replace("_", " ")), {})
        line[column] = row["ours_ms"], min([row["peer_ms"], *line.get(column, ())[1:]])
    columns = sorted(sizes, key=lambda column: (-sizes[column], column))
    cells = [
        [*line, *("{:.1f} / {:.1f}".format(*times[column]) if column in times else "" for column in columns)]
        for line, times in sorted(lines.items())
    ]
    heading = "3x3 convolutions in several forms, by channels and size: ours / the quickest peer's, in ms:"
    return heading, markdown_table(["device", "what", "form", *columns], cells)


def _line(row: Mapping[str, Any]) -> list[str]:
    unit = next(unit for unit in UNITS if f"ours_{unit}" in row)
    what = ", ".join(
        str(value) if isinstance(value, str) else f"{name} {value}" for name, value in row["shape"].items()
    )
    ours, theirs = (f"{row[f'{side}_{unit}']:.1f} {UNITS[unit]}" for side in ("ours", "peer"))
    return [row["benchmark"], what, row["device"], ours, row["peer"], theirs, f"{row['ratio']:.2f}"]
