"""The table of docs/method.md of models on images made strange, from the rows of `docs/results/strange.json`."""

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from cxr_jax.report.rows import markdown_table, with_spread

FILE = "strange.json"
NOTHING = "No results are there yet: `python -m cxr_jax.strange` adds them."


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table: a line for each model, its seeds' mean Jaccard and spread over images for each kind."""
    if not rows:
        return NOTHING
    kinds = list(dict.fromkeys(row["kind"] for row in rows))
    found = {}
    for row in rows:
        found.setdefault((row["model"], row["source"]), {}).setdefault(row["kind"], []).append(row)
    lines = []
    for (model, source), cells in sorted(found.items()):
        seeds = str(max(map(len, cells.values())))
        lines.append([model, source, seeds, *(_over_seeds(cells.get(kind, [])) for kind in kinds)])
    return markdown_table(["model", "validation images of", "seeds", *kinds], lines)


def _over_seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "-"
    return with_spread(*(mean(row["jaccard"][part] for row in rows) for part in ("mean", "std")))
