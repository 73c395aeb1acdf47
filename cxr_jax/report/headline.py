"""The README's table: the paper and ours on Montgomery's lungs, by the share of its labels."""

from collections.abc import Mapping, Sequence
from statistics import mean

from cxr_jax.report import cells
from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import Row, markdown_table, with_spread

CASE = {"source": "jsrt", "target": "montgomery", "task": "lungs"}
GRID = "augmented"  # the protocol whose methods stand side by side at every share
RECIPE = "best"  # the protocol of configs/best.py, which has several seeds
OF_RECIPE = ("fine_tuning", "self_training")  # without a translator
SHOWN = ("fine_tuning", "transfer")  # of the grid


def markdown(grid: Sequence[Row], parts: Sequence[Row]) -> str:
    """Return the table made of the rows of Table II, and of those that compare the parts of configs/best.py."""
    grid, parts = ([row for row in rows if _has(row, CASE)] for rows in (grid, parts))
    settings = cells.settings([row for row in grid if row["protocol"] == GRID])
    if not settings:
        return cells.ROWS.nothing
    (*_, protocol, size, seed, _), ours = max(settings.items(), key=lambda item: sum(map(len, item[1].values())))
    columns = {name: cells.PAPERS if name == "transfer" else cells.METHODS[name] for name in SHOWN}
    rows = [row for row in (*parts, *grid) if row["image_size"] == size]
    recipe = [_recipe(rows, method) for method in OF_RECIPE]
    lines = []
    for share, published in TABLE2.items():
        of_share = ours.get(share, {})
        best = max(published, key=lambda method: published[method][0])
        lines.append(
            [
                f"{100 * share:g} %",
                _images(of_share),
                with_spread(*published["transfer"]),
                f"{with_spread(*published[best])}, {cells.METHODS[best]}",
                *(_score(of_share.get(column)) for column in columns.values()),
                *(_over_seeds(seeds.get(share, [])) for seeds in recipe),
            ]
        )
    return markdown_table(
        [
            *("labels", "images", "paper, 256 px: transfer", "paper, 256 px: its best method"),
            *(f"ours, {protocol}, {size} px, seed {seed}: {cells.METHODS[name]}" for name in columns),
            *(f"ours, {RECIPE}, {size} px: {cells.METHODS[name]}" for name in OF_RECIPE),
        ],
        lines,
    )


def _has(row: Row, fields: Mapping[str, str]) -> bool:
    return all(row[name] == value for name, value in fields.items())


def _recipe(rows: Sequence[Row], method: str) -> dict[float, list[Row]]:
    """Return the rows of a method of the recipe by share of labels, one a seed."""
    found = {}
    for row in rows:
        if _has(row, {"protocol": RECIPE, "method": method}):
            found.setdefault(row["label_frac"], {})[row["seed"]] = row
    return {share: list(seeds.values()) for share, seeds in found.items()}


def _images(cells: Mapping[str, Row]) -> str:
    return str(next(iter(cells.values()))["labelled_images"]) if cells else ""


def _score(row: Row | None) -> str:
    return "" if row is None else with_spread(row["jaccard"]["mean"], row["jaccard"]["std"])


def _over_seeds(rows: Sequence[Row]) -> str:
    """Return mean and range of the seeds' means, and how many seeds; of one seed its mean, and which it is."""
    if not rows:
        return ""
    means = [row["jaccard"]["mean"] for row in rows]
    if len(rows) == 1:
        return f"{means[0]:.2f} (seed {rows[0]['seed']})"
    return f"{mean(means):.2f} ({min(means):.2f} to {max(means):.2f}; {len(means)} seeds)"
