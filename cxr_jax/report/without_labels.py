"""What methods reach without labels, and what is told of their masks without any, as Markdown, from rows of Table II.

Each line is of all seeds of a method in a protocol.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean

from scipy import stats

from cxr_jax.report import cells, findings
from cxr_jax.report.rows import Row, markdown_table

FEWEST = 5  # seeds of which a correlation is told
WORST, LEAST = 0.1, 0.25  # shares of a seed's images: with the lowest Jaccard, and of which the least is expected
HEAD = ("protocol", "M_A", "method")
SCORES = ("seeds", "mean", "lowest", "highest", "sd over images")
TIDIED = ("mean, tidied", "lowest, tidied", "sd over images, tidied")
SIGNALS = (
    "plausible masks",
    "Jaccard of these",
    "Jaccard of the others",
    "plausible masks and mean Jaccard, over seeds: rank correlation",
    "expected Jaccard",
    "expected and true Jaccard, over images: rank correlation",
    "worst tenth of the images, found in the quarter of which least is expected",
)
NOTHING = "There are none yet."


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables."""
    return "\n\n".join(
        [
            "Methods without labels. Mean, lowest and highest are of the seeds' means over test images; the standard "
            "deviation (sd) over images is the mean of the seeds'; `-` where rows are older than a measure, or there "
            "are no labels to test with:",
            scores(rows),
            "What is told of the same masks without a label, and how well it tells: which masks can be the organ "
            "(`cxr_jax/plausibility.py`), and what Jaccard is to be expected of each "
            "(`cxr_jax.metrics.expected_jaccard`). Correlations are Spearman's; over images, the mean of the seeds':",
            signals(rows),
            "The same scores by what the dataset says of the patient; mean and standard deviation are over "
            "cases, each an image and a seed:",
            by_finding(rows),
        ]
    )


def scores(rows: Sequence[Row]) -> str:
    """Return the table of what methods reach."""
    return _table(rows, (*SCORES, *TIDIED), lambda seeds: [str(len(seeds)), *_scores(seeds)])


def signals(rows: Sequence[Row]) -> str:
    """Return the table of what is told without labels, and how well."""
    return _table(rows, SIGNALS, lambda seeds: [_plausible(seeds), *_told(seeds), *_expected(seeds)])


def by_finding(rows: Sequence[Row]) -> str:
    """Return the table of what methods reach on images with and without a finding, where datasets tell of one."""
    told = [row for row in rows if row["jaccard"] and row["target"] in findings.FINDINGS]
    return _table(told, findings.COLUMNS, findings.line)


def method(row: Row) -> str:
    """Return what a method is called where there are no labels: nothing is left of fine-tuning then."""
    return "M_A as it is" if row["method"] == "fine_tuning" else cells.column(row)


def _table(rows: Sequence[Row], columns: Sequence[str], line: Callable[[Sequence[Row]], list[str]]) -> str:
    found = {}
    for row in sorted(rows, key=cells.ROWS.key):
        if row["label_frac"] == 0:
            setting = f"{row['protocol']}, {row['source']} to {row['target']}, {row['task']}, {row['image_size']} px"
            found.setdefault((setting, row["segmenter"], method(row)), []).append(row)
    lines = [[*names, *line(seeds)] for names, seeds in found.items()]
    return markdown_table([*HEAD, *columns], lines) if lines else NOTHING


def _scores(rows: Sequence[Row]) -> list[str]:
    plain = [row["jaccard"] for row in rows if row["jaccard"]]
    tidied = [row["jaccard_tidied"] for row in rows if row.get("jaccard_tidied")]
    numbers = []
    if plain:
        numbers += [*(measure(_means(plain)) for measure in (mean, min, max)), mean(score["std"] for score in plain)]
    if plain and len(tidied) == len(plain):
        numbers += [mean(_means(tidied)), min(_means(tidied)), mean(score["std"] for score in tidied)]
    missing = len(SCORES) - 1 + len(TIDIED) - len(numbers)
    return [*(f"{number:.2f}" for number in numbers), *["-"] * missing]


def _means(metrics: Sequence[Mapping]) -> list[float]:
    return [metric["mean"] for metric in metrics]


def _plausible(rows: Sequence[Row]) -> str:
    return " of ".join(str(sum(row["plausible"][part] for row in rows)) for part in ("count", "images"))


def _told(rows: Sequence[Row]) -> list[str]:
    """Return what plausibility, told without labels, says of the Jaccard: of single images, and of whole seeds."""
    rows = [row for row in rows if row["jaccard"]]
    scores = {True: [], False: []}
    for row in rows:
        for image, score in row["jaccard"]["per_image"].items():
            scores[row["plausible"]["per_image"][image]].append(score)
    counts = [row["plausible"]["count"] for row in rows]
    correlation = "-"
    if len(rows) >= FEWEST and len(set(counts)) > 1:
        correlation = f"{stats.spearmanr(counts, [row['jaccard']['mean'] for row in rows]).statistic:+.2f}"
    return [*(f"{mean(found):.2f}" if found else "-" for found in scores.values()), correlation]


def _expected(rows: Sequence[Row]) -> list[str]:
    """Return the Jaccard that was to be expected of a test image, told without labels, and what that says of it."""
    if not all(row.get("expected_jaccard") for row in rows):
        return ["-"] * 3
    correlations, found, asked = [], 0, 0
    for row in rows:
        if row["jaccard"]:
            score = row["jaccard"]["per_image"]
            expected = {image: row["expected_jaccard"]["per_image"][image] for image in score}
            correlations += _rank_correlation(expected, score)
            worst, least = _lowest(score, WORST), _lowest(expected, LEAST)
            found, asked = found + len(worst & least), asked + len(worst)
    return [
        f"{mean(row['expected_jaccard']['mean'] for row in rows):.2f}",
        f"{mean(correlations):+.2f}" if correlations else "-",
        f"{found} of {asked}" if asked else "-",
    ]


def _rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> list[float]:
    """Return Spearman's correlation of two values of the same images; nothing where either is the same for all."""
    if min(len(set(values.values())) for values in (one, other)) < 2:
        return []
    return [float(stats.spearmanr(list(one.values()), list(other.values())).statistic)]


def _lowest(values: Mapping[str, float], share: float) -> set[str]:
    """Return the images with the lowest values, a share of them, rounded up."""
    return set(sorted(values, key=values.get)[: math.ceil(len(values) * share)])
