"""The table of docs/method.md of models on images made strange, from the rows of `docs/results/strange.json`."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from cxr_jax.report.rows import settings_table, with_spread_over_seeds

FILE = "strange.json"
ALWAYS = ("model", "validation images of")  # columns
NOTHING = "No results are there yet: `python -m cxr_jax.strange` adds them."


def setting(row: Mapping[str, Any]) -> dict[str, Hashable]:
    """Return what the rows of one line have in common, by its column: they differ in seed and kind alone."""
    return {
        "model": row["model"],
        "validation images of": row["source"],
        "organ": row["config"]["task"],
        "side, px": row["image_size"],
        "fold": row["config"]["fold"],
    }


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: a line for each setting, its seeds' mean Jaccard and spread over images for each kind.

    Columns of organ, size and fold are there where rows differ in them.
    """
    if not rows:
        return NOTHING
    kinds = list(dict.fromkeys(row["kind"] for row in rows))

    def cells(alike: list[Mapping[str, Any]]) -> list[str]:
        by_kind = [[row for row in alike if row["kind"] == kind] for kind in kinds]
        return [str(max(map(len, by_kind))), *map(_over_seeds, by_kind)]

    return settings_table(rows, setting, ALWAYS, ["seeds", *kinds], cells)


def _over_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    return with_spread_over_seeds(rows, "jaccard") if rows else "-"
