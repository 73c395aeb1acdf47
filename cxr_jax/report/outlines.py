"""The table of docs/RESULTS.md of where outlines lie, from the rows of `docs/results/outlines.json`."""

from collections.abc import Hashable, Mapping, Sequence
from statistics import mean
from typing import Any

from cxr_jax.report.rows import markdown_table, with_spread

FILE = "outlines.json"
SIDES = ("apex", "mediastinum", "chest wall", "diaphragm")
NOTHING = "No results are there yet: `python -m cxr_jax.outlines` adds them."


def setting(row: Mapping[str, Any]) -> dict[str, Hashable]:
    """Return what the rows of one line have in common, by its column: they differ in seed alone."""
    return {
        "test images of": row["tested_on"],
        "side, px": row["image_size"],
        "model": row["model"],
        "labels": f"{100 * row['label_frac']:g} %",
        "fold": row["config"]["fold"],
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: a line for each setting, means over its seeds, ± over images (the seeds' mean)."""
    found = {}
    for row in rows:
        found.setdefault(tuple(setting(row).values()), []).append(row)
    if not found:
        return NOTHING
    head = [*setting(rows[0]), "seeds", *(f"{side}, % of side" for side in SIDES), "area, % of the truth's", "Jaccard"]
    head += ["best threshold", "Jaccard with it"]
    return markdown_table(head, [[*map(str, key), *_cells(of)] for key, of in sorted(found.items())])


def _cells(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what stands behind a setting: seeds and measures."""
    measured = {
        name: with_spread(*(mean(row[name][part] for row in rows) for part in ("mean", "std")))
        for name in (*SIDES, "area", "jaccard", "jaccard_at_threshold")
    }
    seeds = ", ".join(str(row["seed"]) for row in sorted(rows, key=lambda row: row["seed"]))
    threshold = f"{mean(row['threshold'] for row in rows):.2f}"
    sides = [measured[name] for name in (*SIDES, "area", "jaccard")]
    return [seeds, *sides, threshold, measured["jaccard_at_threshold"]]
