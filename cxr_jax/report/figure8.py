"""Figure 8: Jaccard with its confidence interval against the share of labels, ours and the published curves."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from cxr_jax.report.cells import METHODS, column, settings
from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import Row
from cxr_jax.statistics import bootstrap_interval

TEST_IMAGES = 27  # of the published figures (section VI-B1)
FEWEST = 3  # shares of labels that make a curve
COLOURS = {
    "transfer": "tab:blue",
    "self_training": "tab:purple",
    "fine_tuning": "tab:orange",
    "from_scratch": "tab:green",
}
MARKERS = "osD^vP*"  # of our curves in turn: transfers with several translators have one colour

Curve = dict[float, tuple[float, float, float]]  # share of labels to mean, low and high end of the interval, percent


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw a column for each setting that has a curve of ours, of three shares: the published curves, dashed, and ours.

    The lower panel has the same curves of ours, near the top alone, where they would otherwise not be told apart.
    """
    labelled = [row for row in rows if row["jaccard"]]
    found = {setting: curves(shares) for setting, shares in settings(labelled).items()}
    found = {setting: ours for setting, ours in found.items() if _longest(ours) >= FEWEST} or {None: {}}
    figure = Figure(figsize=(6.5 * len(found), 8), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False, sharex=True)
    for (upper, lower), (setting, ours) in zip(axes.T, found.items(), strict=True):
        for method, curve in published().items():
            _plot(upper, curve, COLOURS[method], f"{METHODS[method]}, published", "--")
        for axis in (upper, lower):
            for (name, (method, curve)), marker in zip(ours.items(), itertools.cycle(MARKERS)):
                _plot(axis, curve, COLOURS[method], name, "-", marker)
            axis.set(ylabel="Jaccard, %")
            axis.grid(alpha=0.3)
            if axis.has_data():
                axis.legend(fontsize="small", loc="lower right")
        upper.set_ylim(0, 100)
        if setting is not None:
            upper.set_title("{} to {}, {}, {}, {} px, seed {}, {}".format(*setting))
        lower.set_ylim(*_top(ours))
        lower.set_xticks(range(len(TABLE2)), [f"{100 * share:g}" for share in TABLE2])
        lower.set_xlabel("labelled share of the target's training images, %")
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _longest(ours: dict[str, tuple[str, Curve]]) -> int:
    return max(len(curve) for _, curve in ours.values())


def _top(ours: dict[str, tuple[str, Curve]]) -> tuple[float, float]:
    """Return the range of Jaccard that holds all curves but that from scratch, which begins far below."""
    ends = [
        end for method, curve in ours.values() if method != "from_scratch" for point in curve.values() for end in point
    ]
    return (min(ends) - 0.5, max(ends) + 0.5) if ends else (0, 100)


def curves(shares: dict[float, dict[str, Row]]) -> dict[str, tuple[str, Curve]]:
    """Return method and curve of each column of a setting; intervals are bootstrapped over test images."""
    found = {}
    for share, cells in sorted(shares.items()):
        for row in cells.values():
            _, curve = found.setdefault(column(row), (row["method"], {}))
            interval = bootstrap_interval(list(row["jaccard"]["per_image"].values()))
            curve[share] = (row["jaccard"]["mean"], *interval)
    return found


def published() -> dict[str, Curve]:
    """Return the published curves; their intervals are Student's, of the mean of a fifth of Montgomery's images."""
    factor = float(stats.t.ppf(0.975, TEST_IMAGES - 1)) / np.sqrt(TEST_IMAGES)
    return {
        method: {
            share: (mean, mean - factor * deviation, mean + factor * deviation)
            for share, cells in TABLE2.items()
            if method in cells
            for mean, deviation in [cells[method]]
        }
        for method in dict.fromkeys(method for cells in TABLE2.values() for method in cells)
    }


def _plot(axis: Axes, curve: Curve, colour: str, label: str, style: str, marker: str = "o") -> None:
    """Draw one curve over the shares of the published table; others lie between them."""
    shares, known = np.array(sorted(curve)), np.array(list(TABLE2))
    at = np.interp(shares, known, np.arange(len(known)))
    means, lows, highs = np.array([curve[share] for share in shares]).T
    reach = np.maximum([means - lows, highs - means], 0)
    options = {"linestyle": style, "color": colour, "marker": marker, "markersize": 4, "capsize": 3}
    axis.errorbar(at, means, yerr=reach, label=label, alpha=0.5 if style == "--" else 1.0, **options)
