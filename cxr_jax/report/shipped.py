"""The table of docs/MODEL_CARD.md, from the rows of `docs/results/shipped.json`."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_jax.report.rows import markdown_table, with_spread

FILE = "shipped.json"
HEAD = ("file", "MB", "organ", "test images of", "Jaccard", "Dice", "Jaccard, tidied")
TOLD = ("plausible masks", "expected Jaccard", "seem inverted", "of their negatives")  # without labels
NOTHING = "No weights are shipped yet: `python -m cxr_jax.ship` adds them."


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the table, a line for each row."""
    return markdown_table([*HEAD, *TOLD], [_line(row) for row in rows]) if rows else NOTHING


def _line(row: Mapping[str, Any]) -> list[str]:
    scores = [
        "-" if row[name] is None else with_spread(row[name]["mean"], row[name]["std"])
        for name in ("jaccard", "dice", "jaccard_tidied")
    ]
    inverted = row["seem_inverted"] or {"images": "-", "negatives": "-"}
    told = f"{row['plausible']} of {row['images']}", f"{row['expected_jaccard']:.2f}", *map(str, inverted.values())
    return [row["file"], f"{row['bytes'] / 1e6:.1f}", row["organ"], row["dataset"], *scores, *told]
