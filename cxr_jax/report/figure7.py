"""Figure 7: mean Jaccard with its confidence interval, by organ and method, ours beside the published ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from cxr_jax.report.published import OVER_FOLDS, OVER_IMAGES, TABLE1

JSRT_IMAGES, FOLDS = 247, 5
COLOURS = {"paper": "tab:blue", "best": "tab:green", "published": "tab:gray"}
KINDS = {"paper": "ours, the paper's protocol", "best": "ours, best", "published": "published"}


class Point(NamedTuple):
    """A method's mean Jaccard in percent with half its interval's width, 0 where no spread is known."""

    name: str
    kind: str
    mean: float
    reach: float


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the figure from rows of Table I: 95 % intervals, ours and the published networks' over folds."""
    organs = list(next(iter(TABLE1.values())))
    figure = Figure(figsize=(15, 0.32 * _height(rows, organs) + 1.5), layout="constrained")
    for axis, organ in zip(figure.subplots(1, len(organs)), organs, strict=True):
        points = points_of(rows, organ)[::-1]
        for place, point in enumerate(points):
            style = {"fmt": "o", "capsize": 3, "color": COLOURS.get(point.kind, "tab:orange")}
            axis.errorbar(point.mean, place, xerr=point.reach or None, **style)
        axis.set_yticks(range(len(points)), [point.name for point in points])
        low, high = axis.get_xlim()
        axis.set(title=organ, xlabel="Jaccard, %", xlim=(max(low, 0), min(high, 100)))  # few folds: wide intervals
        axis.grid(axis="x", alpha=0.3)
    shown = [kind for kind in KINDS if kind in {"published", *(row["protocol"] for row in rows)}]
    handles = [Line2D([], [], marker="o", linestyle="", color=COLOURS[kind]) for kind in shown]
    figure.legend(handles, [KINDS[kind] for kind in shown], loc="outside lower center", ncols=len(shown))
    figure.savefig(path, dpi=100, metadata={"Software": None})


def points_of(rows: Sequence[Mapping[str, Any]], organ: str) -> list[Point]:
    """Return what the figure shows of an organ, from top to bottom: ours, then the published methods."""
    ours = [_ours(row) for row in rows if row["organ"] == organ]
    return ours + [_published(name, *organs[organ][0]) for name, organs in TABLE1.items() if organ in organs]


def _height(rows: Sequence[Mapping[str, Any]], organs: Sequence[str]) -> int:
    return max(len(points_of(rows, organ)) for organ in organs)


def _ours(row: Mapping[str, Any]) -> Point:
    jaccard, interval = row["jaccard"], row["jaccard"]["t_95_folds"]
    name = f"{row['segmenter']}, {row['protocol']}, {row['image_size']} px, seed {row['seed']}"
    reach = 0.0 if interval is None else (interval[1] - interval[0]) / 2
    return Point(name, row["protocol"], jaccard["mean"], reach)


def _published(name: str, mean: float, deviation: float | None) -> Point:
    """Return a published method: its interval follows from its spread, where it is known over what that is."""
    if deviation is None or name not in (*OVER_FOLDS, *OVER_IMAGES):
        return Point(name, "published", mean, 0.0)
    count = FOLDS if name in OVER_FOLDS else JSRT_IMAGES
    return Point(name, "published", mean, float(stats.t.ppf(0.975, count - 1)) * deviation / count**0.5)
