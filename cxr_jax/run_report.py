"""The report of a run: one HTML file with everything in it, which opens without a network."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jaxtyping import UInt8
from matplotlib import rc_context, ticker
from matplotlib.figure import Figure
from PIL import Image

from cxr_jax import files, journal

FILE = "report.html"
PERCENT = ("score", "cycle_jaccard", "agreement", "sane")  # of what is logged
MOST = 100  # test images of a model that are shown: they are in the file itself
SMALLEST = 256  # pixels that a picture's side is shown at, at least


@dataclass(frozen=True)
class Case:
    """A test image: its mask drawn on it, its scores by metric (none without labels).

    Of the mask it is told without labels whether it can be the organ, and what Jaccard is to be expected of it.
    """

    name: str
    picture: UInt8[np.ndarray, "h w 3"]
    scores: Mapping[str, float]
    plausible: bool
    expected_jaccard: float


def write(
    path: Path,
    title: str,
    summary: str,
    results: Mapping[str, Any],
    stages: Mapping[str, Path],
    tests: Mapping[str, Sequence[Case]],
) -> None:
    """Write the report of a run with these `results`.

    `stages` are the folders of its stages by name, whose logs and pictures are shown; `tests` the test images of each
    model by its title, listed from the worst to the best by Jaccard; those without labels after them, first
    those that are not plausible, then by the Jaccard that is to be expected. The first `MOST` are shown.
    """
    page = template().render(
        title=title,
        summary=summary,
        results=results,
        config=json.dumps(results["config"], indent=1),
        stages=[_stage(name, folder) for name, folder in stages.items()],
        tests=[_test(name, cases) for name, cases in tests.items()],
    )
    files.write(path, page)


def template() -> jinja2.Template:
    """Return the page that a report is made from."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent / "templates")
    return jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined).get_template(
        "run_report.html"
    )


def _stage(name: str, folder: Path) -> dict[str, Any]:
    rows = journal.read(folder / journal.SCALARS)
    shown = {path.stem: _png(np.asarray(Image.open(path))) for path in sorted(folder.glob("*.png"))}
    return {"name": name.replace("_", " "), "curves": _curves(rows), "pictures": shown}


def _test(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    ordered = sorted(cases, key=_merit)
    metrics = list(dict.fromkeys(metric for case in ordered for metric in case.scores))
    return {
        "name": name,
        "metrics": metrics,
        "cases": ordered,
        "pictures": [_png(_enlarged(case.picture)) for case in ordered[:MOST]],
    }


def _merit(case: Case) -> tuple[bool, float, bool, float]:
    """Return what orders test images from the worst to the best: the truth, or else what is told without any."""
    return "jaccard" not in case.scores, case.scores.get("jaccard", 0.0), case.plausible, case.expected_jaccard


def _curves(rows: Sequence[Mapping[str, float]]) -> str | None:
    """Return losses and percentages over epochs as an SVG's address; None where nothing is logged."""
    names = list(dict.fromkeys(name for row in rows for name in row if name != "epoch"))
    groups = [[name for name in names if (name in PERCENT) == percent] for percent in (False, True)]
    if not names:
        return None
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, group, label in zip(axes, groups, ("loss and other terms", "percent"), strict=True):
        for name in group:
            points = [(row["epoch"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name.replace("_", " "), marker="." if len(points) < 3 else None)
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
        if group:
            axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[0].set_yscale("log", nonpositive="mask")
    axes[0].yaxis.set_minor_locator(ticker.LogLocator(subs=(2, 5)))
    axes[0].yaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes[0].yaxis.set_minor_formatter(ticker.FormatStrFormatter("%g"))
    buffer = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "curves"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _address(buffer.getvalue(), "image/svg+xml")


def _enlarged(picture: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "_ _ 3"]:
    factor = max(1, -(-SMALLEST // max(picture.shape[:2])))
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def _png(picture: UInt8[np.ndarray, "h w 3"]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return _address(buffer.getvalue(), "image/png")


def _address(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
