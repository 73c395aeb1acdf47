"""The README's table: the paper and ours on Montgomery's lungs, by the share of its labels."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean

from cxr_jax.report import cells
from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import Row, markdown_table, with_spread

CASE = {"source": "jsrt", "target": "montgomery", "task": "lungs"}
GRIDS = ("paper", "augmented")  # protocols whose methods stand side by side at every share, of one seed
SHOWN = ("fine_tuning", "transfer")  # of these; without labels the first is M_A as it is
NAMES = {"paper": "the paper's protocol"}  # of protocols that are called otherwise here
RECIPE = "best"  # the protocol of configs/best.py, which has several seeds
OF_RECIPE = ("fine_tuning", "self_training")  # without a translator


def markdown(grid: Sequence[Row], parts: Sequence[Row]) -> str:
    """Return the table made of the rows of Table II, and of those that compare the parts of configs/best.py."""
    grid, parts = ([row for row in rows if _has(row, CASE)] for rows in (grid, parts))
    grids = [rows for protocol in GRIDS if (rows := _fullest([row for row in grid if row["protocol"] == protocol]))]
    if not grids:
        return cells.ROWS.nothing
    columns = _of_grids(grids) | _of_recipe([row for row in (*parts, *grid) if row["protocol"] == RECIPE])
    images = {row["label_frac"]: str(row["labelled_images"]) for rows in grids for row in rows}
    head = ["labels", "images", "paper, 256 px: transfer", "paper, 256 px: its best method", *columns]
    lines = [
        [
            *(f"{100 * share:g} %", images.get(share, "")),
            *_published(share),
            *(column.get(share, "") for column in columns.values()),
        ]
        for share in TABLE2
    ]
    return markdown_table(head, lines)


def _fullest(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the setting that has most cells, of transfers the paper's alone; none where there are none."""
    of_paper = [row for row in rows if row["backend"] in (None, "munit")]
    found = cells.settings(of_paper).values()
    return max(([row for at in shares.values() for row in at.values()] for shares in found), key=len, default=[])


def _of_grids(grids: Sequence[Sequence[Row]]) -> dict[str, dict[float, str]]:
    """Return, by the head of a column, what stands there at a share of labels."""
    columns: dict[str, dict[float, str]] = {}
    for rows in grids:
        protocol, size, seed = (rows[0][name] for name in ("protocol", "image_size", "seed"))
        for method in SHOWN:
            head = f"ours, {NAMES.get(protocol, protocol)}, {size} px, seed {seed}: {cells.METHODS[method]}"
            columns[head] = {row["label_frac"]: _score(row) for row in rows if row["method"] == method}
    return columns


def _of_recipe(rows: Sequence[Row]) -> dict[str, dict[float, str]]:
    """Do the same for the recipe, over its seeds, at the size of most of its rows."""
    sizes = Counter(row["image_size"] for row in rows)
    columns: dict[str, dict[float, str]] = {}
    for size, method in itertools.product(sorted(sizes, key=sizes.get)[-1:], OF_RECIPE):
        found: dict[float, dict[int, Row]] = {}
        for row in rows:
            if (row["image_size"], row["method"]) == (size, method):
                found.setdefault(row["label_frac"], {})[row["seed"]] = row
        head = f"ours, {RECIPE}, {size} px: {cells.METHODS[method]}"
        columns[head] = {share: _over_seeds(list(seeds.values())) for share, seeds in found.items()}
    return columns


def _published(share: float) -> list[str]:
    """Return the published transfer, and the best of the published methods."""
    found = TABLE2[share]
    best = max(found, key=lambda method: found[method][0])
    return [with_spread(*found["transfer"]), f"{with_spread(*found[best])}, {cells.METHODS[best]}"]


def _has(row: Row, fields: Mapping[str, str]) -> bool:
    return all(row[name] == value for name, value in fields.items())


def _score(row: Row) -> str:
    return with_spread(row["jaccard"]["mean"], row["jaccard"]["std"])


def _over_seeds(rows: Sequence[Row]) -> str:
    """Return mean and range of the seeds' means, and how many seeds; of one seed its mean, and which it is."""
    means = [row["jaccard"]["mean"] for row in rows]
    if len(rows) == 1:
        return f"{means[0]:.2f} (seed {rows[0]['seed']})"
    return f"{mean(means):.2f} ({min(means):.2f} to {max(means):.2f}; {len(means)} seeds)"
