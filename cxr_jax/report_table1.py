"""Table I as Markdown and LaTeX, and Figure 7, from the rows of `docs/results/table1.json` and published figures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from scipy import stats

from cxr_jax.published import TABLE1
from cxr_jax.statistics import t_interval

ORGANS = ("lungs", "heart", "clavicles")
METRICS = ("jaccard", "dice")
JSRT_IMAGES, FOLDS = 247, 5
OVER_FOLDS = ("fcn", "unet", "segnet")  # of the published rows: their spread is over folds
REQUIRED = (
    "segmenter", "organ", "protocol", "image_size", "folds", "seed", "device", "commit", "jaccard", "dice"
)  # fmt: skip

Row = Mapping[str, Any]


class Table1Error(ValueError):
    """A results file that is not one of Table I, or rows that may not stand in one table."""


def read(path: Path) -> list[Row]:
    """Return the rows of `table1.json`; raise `Table1Error` where a field is missing or a cell stands there twice."""
    rows = json.loads(path.read_text())
    seen = set()
    for row in rows:
        missing = [field for field in REQUIRED if field not in row]
        if missing:
            raise Table1Error(f"{path}: a row lacks {', '.join(missing)}; make it with configs/table1.py")
        key = tuple(row[name] for name in ("segmenter", "organ", "protocol", "image_size", "seed"))
        if key in seen:
            raise Table1Error(f"{path}: {key} stands there twice; keep one")
        seen.add(key)
    return rows


def add(rows: Sequence[Row], path: Path) -> None:
    """Put rows into `table1.json` in place of older rows of the same cells."""
    kept = {_key(row): row for row in (read(path) if path.exists() else [])}
    kept |= {_key(row): row for row in rows}
    path.write_text(json.dumps([kept[key] for key in sorted(kept)], indent=1) + "\n")


def markdown(rows: Sequence[Row]) -> str:
    """Return Table I: ours by segmenter, protocol, size and seed, then the published rows."""
    head = "| | protocol | size | folds | " + " | ".join(f"{o} {m}" for o in ORGANS for m in METRICS) + " |"
    lines = [head, "|" + "---|" * (4 + len(ORGANS) * len(METRICS))]
    for name, protocol, size, folds, cells in _lines(rows):
        lines.append("| " + " | ".join([name, protocol, size, folds, *cells]) + " |")
    return "\n".join(lines)


def latex(rows: Sequence[Row]) -> str:
    """Return the same table as a LaTeX tabular."""
    lines = [r"\begin{tabular}{llll" + "r" * len(ORGANS) * len(METRICS) + "}", r"\hline"]
    head = ["", "protocol", "size", "folds", *(f"{o} {m}" for o in ORGANS for m in METRICS)]
    lines += [" & ".join(head) + r" \\", r"\hline"]
    for name, protocol, size, folds, cells in _lines(rows):
        cells = [cell.replace("±", r"$\pm$") for cell in cells]
        lines.append(" & ".join([name, protocol, size, folds, *cells]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}"])


def figure7(rows: Sequence[Row], path: Path) -> None:
    """Draw mean Jaccard with its 95 % confidence interval by organ and method, ours beside the published ones."""
    figure, axes = plt.subplots(1, len(ORGANS), figsize=(13, 5), layout="constrained")
    for axis, organ in zip(axes, ORGANS, strict=True):
        entries = [_ours(row) for row in rows if row["organ"] == organ]
        entries += [_theirs(name, *cell[organ][0]) for name, cell in TABLE1.items() if organ in cell]
        for place, (_, mean, reach, ours) in enumerate(reversed(entries)):
            colour = "tab:blue" if ours else "tab:gray"
            axis.errorbar(mean, place, xerr=reach or None, fmt="o", color=colour, capsize=3)
        axis.set_yticks(range(len(entries)), [entry[0] for entry in reversed(entries)])
        axis.set_title(organ)
        axis.set_xlabel("Jaccard, %")
        axis.grid(axis="x", alpha=0.3)
    figure.suptitle("Blue: ours. Grey: published. Bars: 95 % confidence interval of the mean, where a spread is known")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _key(row: Row) -> tuple:
    return row["segmenter"], row["organ"], row["protocol"], row["image_size"], row["seed"]


def _lines(rows: Sequence[Row]) -> list[tuple[str, str, str, str, list[str]]]:
    """Return name, protocol, size, folds and cells of each line of the table."""
    lines = []
    groups = {}
    for row in rows:
        key = (row["segmenter"], row["protocol"], row["image_size"], row["seed"], len(row["folds"]))
        groups.setdefault(key, {})[row["organ"]] = row
    for (name, protocol, size, seed, folds), organs in sorted(groups.items()):
        cells = [_ours_cell(organs.get(organ), metric) for organ in ORGANS for metric in METRICS]
        lines.append((name, f"{protocol}, seed {seed}", str(size), str(folds), cells))
    for name, organs in TABLE1.items():
        cells = [_their_cell(organs.get(organ), index) for organ in ORGANS for index in range(len(METRICS))]
        lines.append((name, "published", "256" if name in OVER_FOLDS else "", "5" if name in OVER_FOLDS else "", cells))
    return lines


def _ours_cell(row: Row | None, metric: str) -> str:
    return "" if row is None else f"{row[metric]['mean']:.2f} ± {row[metric]['std_folds']:.2f}"


def _their_cell(cell: tuple | None, metric: int) -> str:
    if cell is None or cell[metric] is None:
        return ""
    mean, deviation = cell[metric]
    return f"{mean:.2f}" + (f" ± {deviation:.2f}" if deviation is not None else "")


def _ours(row: Row) -> tuple[str, float, float, bool]:
    low, high = t_interval(row["jaccard"]["per_fold"])
    return f"{row['segmenter']} {row['protocol']} {row['image_size']}", row["jaccard"]["mean"], (high - low) / 2, True


def _theirs(name: str, mean: float, deviation: float | None) -> tuple[str, float, float, bool]:
    """Return a published method's point; its interval follows from its spread over five folds or all images."""
    if deviation is None:
        return f"{name} (published)", mean, 0.0, False
    count = FOLDS if name in OVER_FOLDS else JSRT_IMAGES
    reach = float(stats.t.ppf(0.975, count - 1)) * deviation / count**0.5
    return f"{name} (published)", mean, reach, False
