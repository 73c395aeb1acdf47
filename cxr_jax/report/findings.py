"""Scores of images with and without a finding, which the names of the public datasets' images tell."""

import re
from collections.abc import Sequence
from statistics import mean, pstdev

from cxr_jax.report.rows import Row

# Of each dataset the finding, and the names of images without and with it.
FINDINGS = {
    "montgomery": ("tuberculosis", r"MCUCXR_\d+_0", r"MCUCXR_\d+_1"),
    "jsrt": ("nodule", r"JPCNN\d+", r"JPCLN\d+"),
}
COLUMNS = ("finding", "images without", "Jaccard of these", "images with", "Jaccard of those")


def line(rows: Sequence[Row]) -> list[str]:
    """Return the cells of one line: of all test images of some seeds, tested with one dataset."""
    (dataset,) = {row["target"] for row in rows}
    if dataset not in FINDINGS:
        return ["-"] * len(COLUMNS)
    finding, *names = FINDINGS[dataset]
    scores = [item for row in rows if row["jaccard"] for item in row["jaccard"]["per_image"].items()]
    told = (_told([score for image, score in scores if re.fullmatch(name, image)]) for name in names)
    return [finding, *(cell for cells in told for cell in cells)]


def _told(scores: Sequence[float]) -> tuple[str, str]:
    return str(len(scores)), f"{mean(scores):.2f} ± {pstdev(scores):.2f}" if scores else "-"
