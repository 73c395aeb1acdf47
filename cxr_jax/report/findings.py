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
_METRICS = ("jaccard", "jaccard_tidied")
_OF_EACH = ("cases {} it", "Jaccard {} it", "tidied, {} it")  # a case is an image and a seed
COLUMNS = ("finding", *(column.format(word) for word in ("without", "with") for column in _OF_EACH))


def line(rows: Sequence[Row]) -> list[str]:
    """Return the cells of one line: of all test images of some seeds, tested with one of the datasets above."""
    (dataset,) = {row["target"] for row in rows}
    finding, *names = FINDINGS[dataset]
    return [finding, *(cell for name in names for cell in _told(rows, name))]


def _told(rows: Sequence[Row], name: str) -> list[str]:
    """Return how many cases have such a name, and what they score; `-` where a row is older than a measure."""
    plain, tidied = (_named(rows, metric, name) for metric in _METRICS)
    return [
        str(len(plain)),
        *(f"{mean(found):.2f} ± {pstdev(found):.2f}" if found else "-" for found in (plain, tidied)),
    ]


def _named(rows: Sequence[Row], metric: str, name: str) -> list[float]:
    """Return the scores of images whose name is of that form; none unless every row has the metric."""
    if not all(row.get(metric) for row in rows):
        return []
    scores = (item for row in rows for item in row[metric]["per_image"].items())
    return [score for image, score in scores if re.fullmatch(name, image)]
