"""The table of docs/RESULTS.md of where outlines lie, from the rows of `docs/results/outlines.json`."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from cxr_jax.report.rows import settings_table, with_spread_over_seeds

FILE = "outlines.json"
SIDES = ("apex", "mediastinum", "chest wall", "diaphragm")
ALWAYS = ("test images of", "model", "labels, %")  # columns
NOTHING = "No results are there yet: `python -m cxr_jax.outlines` adds them."


def setting(row: Mapping[str, Any]) -> dict[str, Hashable]:
    """Return what the rows of one line have in common, by its column: they differ in seed alone."""
    return {
        "test images of": row["tested_on"],
        "side, px": row["image_size"],
        "model": row["model"],
        "network": _network(row["config"]["segmenter"]),
        "labels, %": 100 * row["label_frac"],
        "source": row["source"],
        "fold": row["config"]["fold"],
    }


def _network(segmenter: Mapping[str, Any]) -> str:
    sizes = (f"{name} {value}" for name, value in sorted(segmenter.items()) if name != "name")
    return ", ".join([segmenter["name"], *sizes])


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: a line for each setting, means over its seeds, ± over images (the seeds' mean)."""
    measures = [*(f"{side}, % of side" for side in SIDES), "area, % of the truth's", "Jaccard"]
    head = ["seeds", *measures, "best thresholds", "Jaccard with these"]
    return settings_table(rows, setting, ALWAYS, head, _cells) if rows else NOTHING


def _cells(rows: list[Mapping[str, Any]]) -> list[str]:
    """Return what stands behind a setting: seeds and measures."""
    *measured, at_threshold = (
        with_spread_over_seeds(rows, name) for name in (*SIDES, "area", "jaccard", "jaccard_at_threshold")
    )
    seeds, thresholds = zip(*sorted((row["seed"], row["threshold"]) for row in rows), strict=True)
    return [", ".join(map(str, seeds)), *measured, ", ".join(f"{value:.2f}" for value in thresholds), at_threshold]
