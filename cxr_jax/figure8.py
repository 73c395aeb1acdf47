"""Figure 8: Jaccard with its confidence interval against the share of labels, ours and the published curves."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from cxr_jax.published import TABLE2
from cxr_jax.report_table2 import METHODS, column, settings
from cxr_jax.rows import Row
from cxr_jax.statistics import bootstrap_interval

TEST_IMAGES = 28  # a fifth of Montgomery
COLOURS = {
    "transfer": "tab:blue",
    "self_training": "tab:purple",
    "fine_tuning": "tab:orange",
    "from_scratch": "tab:green",
}

Curve = dict[float, tuple[float, float, float]]  # share of labels to mean, low and high end of the interval, percent


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw a panel for each setting of our rows; every panel has the published curves, dashed."""
    found = settings([row for row in rows if row["jaccard"]]) or {None: {}}
    figure, axes = plt.subplots(
        1, len(found), figsize=(6.5 * len(found), 4.5), squeeze=False, sharey=True, layout="constrained"
    )
    places = {share: place for place, share in enumerate(TABLE2)}
    for axis, setting in zip(axes.flat, found, strict=True):
        for method, curve in published().items():
            _plot(axis, places, curve, COLOURS[method], f"{METHODS[method]}, published", "--")
        for name, (method, curve) in curves(found[setting]).items():
            _plot(axis, places, curve, COLOURS[method], name, "-")
        axis.set_xticks(range(len(places)), [f"{100 * share:g}" for share in places])
        title = "" if setting is None else "{} to {}, {}, {}, {} px, seed {}, {}".format(*setting)
        axis.set(title=title, xlabel="labelled share of the target's training images, %", ylabel="Jaccard, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


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


def _plot(axis: plt.Axes, places: dict[float, int], curve: Curve, colour: str, label: str, style: str) -> None:
    """Draw one curve over the shares of the published table; others lie between them."""
    shares, known = np.array(sorted(curve)), np.array(list(places))
    at = np.interp(shares, known, np.arange(len(known)))
    means, lows, highs = np.array([curve[share] for share in shares]).T
    reach = np.maximum([means - lows, highs - means], 0)
    options = {"linestyle": style, "color": colour, "marker": "o", "markersize": 4, "capsize": 3}
    axis.errorbar(at, means, yerr=reach, label=label, alpha=0.5 if style == "--" else 1.0, **options)
