"""The table of docs/PERFORMANCE.md, from the rows of `docs/results/benchmarks.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_jax.rows import markdown_table

FILE = "benchmarks.json"
UNITS = {"ms": "ms", "mib": "MiB"}
HEAD = ("benchmark", "what", "device", "ours", "peer", "the peer's", "ratio")
NOTHING = "No results are there yet: each command above adds its own."


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, a line for each row."""
    return markdown_table(HEAD, [_line(row) for row in rows]) if rows else NOTHING


def _line(row: Mapping[str, Any]) -> list[str]:
    unit = next(unit for unit in UNITS if f"ours_{unit}" in row)
    what = ", ".join(
        str(value) if isinstance(value, str) else f"{name} {value}" for name, value in row["shape"].items()
    )
    ours, theirs = (f"{row[f'{side}_{unit}']:.1f} {UNITS[unit]}" for side in ("ours", "peer"))
    return [row["benchmark"], what, row["device"], ours, row["peer"], theirs, f"{row['ratio']:.2f}"]
