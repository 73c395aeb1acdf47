"""Table I as Markdown and LaTeX, spreads and significance, from the rows of `docs/results/table1.json`."""

import itertools
from collections.abc import Sequence
from typing import Any

from cxr_jax.report.published import OVER_FOLDS, TABLE1
from cxr_jax.report.rows import MADE, Row, Table, markdown_table, printed_test, with_spread
from cxr_jax.statistics import holm

ORGANS = ("lungs", "heart", "clavicles")
METRICS = ("jaccard", "dice")
DISTANCES = {"hd95_mm": "HD95, mm", "assd_mm": "ASSD, mm"}
ROWS = Table(
    name="table1",
    identity=("segmenter", "organ", "protocol", "image_size", "seed"),
    required=("segmenter", "organ", "protocol", "image_size", "folds", "seed", "device", *MADE),
    varying=("segmenter", "task", "fold", "seed", "critic"),
    metrics=dict.fromkeys(METRICS, ("mean", "std_folds", "std_images", "t_95_folds", "bootstrap_95", "per_image")),
)
COLUMNS = [f"{organ} {metric}" for organ in ORGANS for metric in METRICS]


def markdown(rows: Sequence[Row]) -> str:
    """Return the three tables: ours beside the published figures, spreads and distances, significance."""
    if not rows:
        return ROWS.nothing
    parts = [
        markdown_table(["", "protocol", "size", "folds", *COLUMNS], _lines(rows)),
        "Each cell by itself: Jaccard with its spreads and bootstrap interval; distances, mean ± spread over images:",
        _spreads(rows),
        "Pairs of segmenters on the same test images (Wilcoxon's signed ranks, Holm's correction within an organ):",
        _significance(rows),
    ]
    return "\n\n".join(parts)


def latex(rows: Sequence[Row]) -> str:
    """Return ours beside the published figures as a LaTeX tabular."""
    lines = [["", "protocol", "size", "folds", *COLUMNS], *_lines(rows)]
    body = [" & ".join(line).replace("±", r"$\pm$") + r" \\" for line in lines]
    begin = r"\begin{tabular}{llll" + "r" * len(COLUMNS) + "}"
    return "\n".join([begin, r"\hline", body[0], r"\hline", *body[1:], r"\hline", r"\end{tabular}"]) + "\n"


def significance(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return a paired test for every two segmenters with the same protocol, size, seed, organ and folds.

    The p-values are Holm's, over all pairs of one protocol, size, seed and organ. Raises `RowsError` where the images
    of the same folds differ.
    """
    families = {}
    for one, other in itertools.combinations(sorted(rows, key=ROWS.key), 2):
        if _family(one) == _family(other) and one["folds"] == other["folds"]:
            families.setdefault(_family(one), []).append((one, other))
    found = []
    for _, pairs in sorted(families.items()):
        tests = [ROWS.compare(one, other) for one, other in pairs]
        adjusted = holm([test.p_value for test in tests])
        found += [
            {"one": one, "other": other, "test": test, "p_holm": float(p)}
            for (one, other), test, p in zip(pairs, tests, adjusted, strict=True)
        ]
    return found


def _family(row: Row) -> tuple:
    return row["protocol"], row["image_size"], row["seed"], ORGANS.index(row["organ"])


def _lines(rows: Sequence[Row]) -> list[list[str]]:
    """Return the lines of Table I: ours by segmenter, protocol, size and seed, then the published ones."""
    groups = {}
    for row in rows:
        key = (row["segmenter"], row["protocol"], row["image_size"], row["seed"], tuple(row["folds"]))
        groups.setdefault(key, {})[row["organ"]] = row
    lines = []
    for (name, protocol, size, seed, folds), organs in sorted(groups.items()):
        cells = [_ours(organs.get(organ), metric) for organ in ORGANS for metric in METRICS]
        lines.append([name, f"{protocol}, seed {seed}", str(size), str(len(folds)), *cells])
    for name, organs in TABLE1.items():
        cells = [_published(organs.get(organ), index) for organ in ORGANS for index in range(len(METRICS))]
        size, folds = ("256", "5") if name in OVER_FOLDS else ("", "")
        lines.append([name, "published", size, folds, *cells])
    return lines


def _ours(row: Row | None, metric: str) -> str:
    return "" if row is None else with_spread(row[metric]["mean"], row[metric]["std_folds"])


def _published(cell: tuple | None, metric: int) -> str:
    return "" if cell is None or cell[metric] is None else with_spread(*cell[metric])


def _spreads(rows: Sequence[Row]) -> str:
    head = ["", "organ", "protocol", "size", "Jaccard", "sd over folds", "sd over images", "95 % interval", "tidied"]
    lines = []
    for row in sorted(rows, key=ROWS.key):
        jaccard = row["jaccard"]
        low, high = jaccard["bootstrap_95"]
        spreads = (jaccard[name] for name in ("mean", "std_folds", "std_images"))
        numbers = ["-" if spread is None else f"{spread:.2f}" for spread in spreads]
        tidied = f"{row['jaccard_tidied']['mean']:.2f}" if "jaccard_tidied" in row else "-"
        distances = [_distance(row, name) for name in DISTANCES]
        lines.append([*_names(row), *numbers, f"{low:.2f} to {high:.2f}", tidied, *distances])
    return markdown_table([*head, *DISTANCES.values()], lines)


def _names(row: Row) -> list[str]:
    return [row["segmenter"], row["organ"], f"{row['protocol']}, seed {row['seed']}", str(row["image_size"])]


def _distance(row: Row, metric: str) -> str:
    return with_spread(row[metric]["mean"], row[metric]["std_images"]) if metric in row else "-"


def _significance(rows: Sequence[Row]) -> str:
    head = ["pair", "organ", "protocol", "size", "difference, points", "p (Holm)", "effect", "images"]
    lines = []
    for pair in significance(rows):
        one, other, test = pair["one"], pair["other"], pair["test"]
        names = [f"{one['segmenter']} less {other['segmenter']}", *_names(one)[1:]]
        lines.append([*names, *printed_test(test, pair["p_holm"])])
    return markdown_table(head, lines) if lines else "No two segmenters were tested on the same images."
