"""Cells of Table II as rows: what each must hold, what tells it from others, and what it is called."""

from collections.abc import Sequence

from cxr_jax.checks import TO_TARGET
from cxr_jax.report.rows import MADE, Row, Table
from cxr_jax.results import TITLES

METHODS = {method: TITLES[method] for method in TO_TARGET}
PAPERS = "transfer, munit"  # the column of the paper's own transfer
SETTING = ("source", "target", "task", "protocol", "image_size", "seed", "segmenter")
ROWS = Table(
    name="table2",
    identity=(*SETTING, "method", "backend", "label_frac"),
    required=(
        "method", "backend", "segmenter", "task", "label_frac", "labelled_images", "image_size", "protocol", "seed",
        "converged", "restarts", "plausible", "device", *MADE,
    ),
    varying=("method", "task", "label_frac", "seed", "translator", "transfer.weights", "transfer.image_pool"),
    metrics=dict.fromkeys(("jaccard", "dice"), ("mean", "std", "per_image")),
)  # fmt: skip

Setting = tuple  # what the methods of a line have in common, but for the share of labels


def settings(rows: Sequence[Row]) -> dict[Setting, dict[float, dict[str, Row]]]:
    """Return the rows by setting, share of labels and column: its method, a transfer's with its backend."""
    found = {}
    for row in sorted(rows, key=ROWS.key):
        setting = tuple(row[name] for name in SETTING)
        found.setdefault(setting, {}).setdefault(row["label_frac"], {})[column(row)] = row
    return found


def column(row: Row) -> str:
    """Return the name of a row's column."""
    return METHODS[row["method"]] + (f", {row['backend']}" if row["backend"] else "")
