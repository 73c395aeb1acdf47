"""The table of docs/PERFORMANCE.md, from the rows of `docs/results/benchmarks.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_jax.report.rows import markdown_table

FILE = "benchmarks.json"
FORMS = "convolution"
LIMITS = "roofline"
UNITS = {"ms": "ms", "mib": "MiB", "percent": "%"}
HEAD = ("benchmark", "what", "device", "ours", "peer", "the peer's", "ratio")
NOTHING = "No results are there yet: each command above adds its own."


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table with a line for each row, one of what limits a step, and one of a convolution's forms."""
    if not rows:
        return NOTHING
    parts = {LIMITS: _limits, FORMS: _forms}
    tables = [markdown_table(HEAD, [_line(row) for row in rows if row["benchmark"] not in parts])]
    for benchmark, part in parts.items():
        if chosen := [row for row in rows if row["benchmark"] == benchmark]:
            tables += part(chosen)
    return "\n\n".join(tables)


def _limits(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Return heading and table of what steps compute and move: a line for each step, of whose rows each has a limit."""
    steps = {(row["device"], _what(row)): row for row in rows}
    lines = [
        [
            *(what, device, f"{row['ours_ms']:.1f} ms"),
            *(cell for part in ("flops", "bytes") for cell in _speed(row, part)),
        ]
        for (device, what), row in sorted(steps.items())
    ]
    heading = (
        "What a step computes and moves, and how quickly, beside what the device was seen to do in the same run "
        "(`benchmarks.roofline`); the larger share is what limits it:"
    )
    head = ["step", "device", "ours", "GFLOP", "GFLOP/s", "of the device's", "GB", "GB/s", "of the device's"]
    return heading, markdown_table(head, lines)


def _speed(row: Mapping[str, Any], part: str) -> tuple[str, str, str]:
    """Return how much of a part a step has, in units of 1e9, how much a second, and as a share of the device's."""
    amount, device = row[part] / 1e9, row[f"chip_{part}"] / 1e9
    speed = amount / (row["ours_ms"] / 1000)
    return f"{amount:.2f}", f"{speed:.0f}", f"{speed / device:.0%} of {device:.0f}"


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
    ours, theirs = (f"{row[f'{side}_{unit}']:.1f} {UNITS[unit]}" for side in ("ours", "peer"))
    return [row["benchmark"], _what(row), row["device"], ours, row["peer"], theirs, f"{row['ratio']:.2f}"]


def _what(row: Mapping[str, Any]) -> str:
    shape = row["shape"].items()
    return ", ".join(str(value) if isinstance(value, str) else f"{name} {value}" for name, value in shape)
