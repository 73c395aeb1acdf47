"""The README's table: the paper and ours on Montgomery's lungs, by the share of its labels."""

from collections.abc import Mapping, Sequence
from statistics import mean

from cxr_jax.report import table2
from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import Row, markdown_table, with_spread

CASE = {"source": "jsrt", "target": "montgomery", "task": "lungs"}
GRID = "best"  # the protocol whose methods stand side by side at every share
RECIPE = "equalised_views_effusion", "self_training"  # protocol and method of what configs/best.py adds to it


def markdown(grid: Sequence[Row], without_labels: Sequence[Row]) -> str:
    """Return the table of the rows of Table II, and of those that compare parts of configs/best.py."""
    grid, parts = ([row for row in rows if _is_of_case(row)] for rows in (grid, without_labels))
    setting, ours = _fullest([row for row in grid if row["protocol"] == GRID])
    recipe = {}
    for row in (*parts, *grid):
        if (row["protocol"], row["method"]) == RECIPE:
            recipe.setdefault(row["label_frac"], {})[row["seed"]] = row
    columns = [table2.PAPERS, *(table2.METHODS[name] for name in ("fine_tuning", "from_scratch", "self_training"))]
    head = ["labels", "the paper's best", *(f"{name}{setting}" for name in columns), "self-training alone, best.py"]
    lines = [
        [
            f"{100 * share:g} %",
            _published(methods),
            *(_score(ours.get(share, {}).get(name)) for name in columns),
            _over_seeds(list(recipe.get(share, {}).values())),
        ]
        for share, methods in TABLE2.items()
    ]
    return markdown_table(head, lines)
