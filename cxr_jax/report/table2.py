"""Table II as Markdown, and what transfer gains over its baselines, from the rows of `docs/results/table2.json`."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean

from scipy import stats

from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import MADE, Row, Table, markdown_table, with_spread
from cxr_jax.statistics import holm

PAPERS = "transfer, munit"  # the column of the paper's own transfer
METHODS = {
    "transfer": "transfer",
    "self_training": "self-training alone",
    "fine_tuning": "fine-tuning",
    "from_scratch": "from scratch",
}
SETTING = ("source", "target", "task", "protocol", "image_size", "seed", "segmenter")
ROWS = Table(
    name="table2",
    identity=(*SETTING, "method", "backend", "label_frac"),
    required=(
        "method", "backend", "segmenter", "task", "label_frac", "labelled_images", "image_size", "protocol", "seed",
        "converged", "restarts", "plausible", "device", *MADE,
    ),
    varying=("method", "task", "label_frac", "seed", "translator", "transfer.weights", "transfer.image_pool"),
    metrics=dict.fromkeys(("jaccard", "dice"), ("mean", "std", "per_image")),
)  # fmt: skip
NOTHING = "No results are there yet: `python -m cxr_jax.report --add-table2 WORKDIR` adds those of a finished run."
FEWEST = 5  # seeds of which a correlation is told
WORST, LEAST = 0.1, 0.25  # shares of a seed's images: with the lowest Jaccard, and of which the least is expected

# What transfers have in common whose seeds are counted together.
KIND = ("source", "target", "task", "protocol", "image_size", "segmenter", "backend", "label_frac")

Setting = tuple  # what the methods of a line have in common, but for the share of labels


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables: ours beside the published figures, transfer against its baselines, how often it converged."""
    if not rows:
        return NOTHING
    labelled = [row for row in rows if row["jaccard"]]
    parts = [
        markdown_table(["protocol", "size", "labels", "images", *_columns(labelled)], _lines(labelled)),
        "Transfer less other methods on the same test images (Wilcoxon's signed ranks, Holm's correction over shares):",
        _gains(labelled),
        "Seeds of transfers: how many converged by themselves, and with restarts (told without labels, "
        "`cxr_jax/convergence.py`), and the Jaccard of each, the mean over its test images:",
        _stability(rows),
        "Methods without labels: the Jaccard of each seed, the mean over its test images, the spread over these images "
        "(mean of the seeds), both of tidied masks too, how many masks can be the organ, told without labels "
        "(`cxr_jax/plausibility.py`), the Jaccard of those that can and cannot, and Spearman's correlation of their "
        "number with the mean, over seeds; then the Jaccard that is to be expected "
        "(`cxr_jax.metrics.expected_jaccard`), told without labels too, its correlation with the Jaccard over the "
        "images of a seed (mean of the seeds), and how many of the worst tenth of a seed's images are in the quarter "
        "of which the least is expected (`-` where rows are older than it):",
        without_labels(rows),
    ]
    return "\n\n".join(parts)


def settings(rows: Sequence[Row]) -> dict[Setting, dict[float, dict[str, Row]]]:
    """Return the rows by setting, share of labels and column: its method, a transfer's with its backend."""
    found = {}
    for row in sorted(rows, key=ROWS.key):
        setting = tuple(row[name] for name in SETTING)
        found.setdefault(setting, {}).setdefault(row["label_frac"], {})[column(row)] = row
    return found


def column(row: Row) -> str:
    """Return the name of a row's column."""
    return METHODS[row["method"]] + (f", {row['backend']}" if row["backend"] else "")


def _columns(rows: Sequence[Row]) -> list[str]:
    order = list(METHODS.values())
    return sorted({PAPERS, *map(column, rows)}, key=lambda name: (order.index(name.split(",")[0]), name))


def _lines(rows: Sequence[Row]) -> list[list[str]]:
    columns = _columns(rows)
    lines = []
    for (_, target, task, protocol, size, seed, segmenter), shares in settings(rows).items():
        if sum(map(len, shares.values())) == 1:
            continue  # there is nothing to compare it with but its other seeds, which follow below
        for share, cells in sorted(shares.items()):
            names = [f"{protocol}, {segmenter}, {target} {task}, seed {seed}", str(size), f"{100 * share:g} %"]
            count = str(next(iter(cells.values()))["labelled_images"])
            lines.append([*names, count, *(_score(cells.get(name)) for name in columns)])
    for share, published in TABLE2.items():
        cells = {PAPERS if method == "transfer" else METHODS[method]: cell for method, cell in published.items()}
        scores = [with_spread(*cells[name]) if name in cells else "" for name in columns]
        lines.append(["published, lungs", "256", f"{100 * share:g} %", "", *scores])
    return lines


def _score(row: Row | None) -> str:
    return "" if row is None else with_spread(row["jaccard"]["mean"], row["jaccard"]["std"])


def gains(rows: Sequence[Row]) -> list[Mapping]:
    """Return a paired test of transfer and each other method for every setting and share of labels.

    The p-values are Holm's, over the shares of one pair of methods in one setting. Raises `RowsError` where the test
    images differ.
    """
    found = []
    for setting, shares in settings(rows).items():
        pairs = {}
        for share, cells in sorted(shares.items()):
            for name, row in cells.items():
                if row["method"] == "transfer":
                    for other in set(cells) & (set(METHODS.values()) - {METHODS["transfer"]}):
                        pairs.setdefault((name, other), []).append((share, row, cells[other]))
        for (name, other), shared in sorted(pairs.items()):
            tests = [ROWS.compare(row, baseline) for _, row, baseline in shared]
            for (share, _, _), test, p in zip(shared, tests, holm([test.p_value for test in tests]), strict=True):
                found.append(
                    {"setting": setting, "one": name, "other": other, "share": share, "test": test, "p_holm": float(p)}
                )
    return found


def _gains(rows: Sequence[Row]) -> str:
    head = ["pair", "protocol", "labels", "difference, points", "p (Holm)", "effect", "images"]
    lines = []
    for gain in gains(rows):
        _, target, task, protocol, size, seed, segmenter = gain["setting"]
        test, p = gain["test"], f"{gain['p_holm']:.4f}" if gain["p_holm"] >= 0.0001 else "< 0.0001"
        pair = f"{gain['one']} less {gain['other']}"
        numbers = [f"{test.difference:+.2f}", p, f"{test.effect:+.2f}", str(test.count)]
        lines.append(
            [
                pair,
                f"{protocol}, {segmenter}, {target} {task}, {size} px, seed {seed}",
                f"{100 * gain['share']:g} %",
                *numbers,
            ]
        )
    return markdown_table(head, lines) if lines else "No two methods were tested at the same share of labels."


def stability(rows: Sequence[Row]) -> dict[tuple, dict[str, int | list[float]]]:
    """Return, by setting, backend and share of labels, how many seeds ran, and converged without and with help.

    `jaccard` has the mean over test images of every seed, where there are labels to test with.
    """
    found = {}
    for row in rows:
        if row["method"] == "transfer":
            key = tuple(row[name] for name in KIND)
            counts = found.setdefault(key, {"seeds": 0, "alone": 0, "helped": 0, "jaccard": []})
            counts["seeds"] += 1
            counts["alone"] += row["converged"] and not row["restarts"]
            counts["helped"] += row["converged"]
            counts["jaccard"] += [row["jaccard"]["mean"]] if row["jaccard"] else []
    return dict(sorted(found.items()))


def _stability(rows: Sequence[Row]) -> str:
    lines = [
        [
            f"{protocol}, {source} to {target}, {task}, {size} px",
            f"{segmenter}, {backend}",
            f"{100 * share:g} %",
            *(str(counts[name]) for name in ("seeds", "alone", "helped")),
            *(f"{measure(counts['jaccard']):.2f}" if counts["jaccard"] else "-" for measure in (mean, min, max)),
        ]
        for (source, target, task, protocol, size, segmenter, backend, share), counts in stability(rows).items()
    ]
    head = ["protocol", "M_A and translator", "labels", "seeds", "converged by themselves", "converged in all"]
    head += ["mean", "lowest", "highest"]
    return markdown_table(head, lines) if lines else "No transfer is among them."


def without_labels(rows: Sequence[Row]) -> str:
    """Return the table of methods without labels, a line for all seeds of one in a protocol."""
    found = {}
    for row in sorted(rows, key=ROWS.key):
        if row["label_frac"] == 0:
            setting = f"{row['protocol']}, {row['source']} to {row['target']}, {row['task']}, {row['image_size']} px"
            found.setdefault((setting, row["segmenter"], column(row)), []).append(row)
    lines = [[*names, str(len(seeds)), *_over_seeds(seeds)] for names, seeds in found.items()]
    head = ["protocol", "M_A", "method without labels", "seeds", "mean", "lowest", "highest", "spread"]
    head += ["mean, tidied", "spread, tidied", "plausible"]
    head += ["Jaccard of these", "of the others", "rank correlation"]
    head += ["expected Jaccard", "rank correlation over images", "worst tenth in its lowest quarter"]
    return markdown_table(head, lines) if lines else "None had 0 % labels."


def _over_seeds(rows: Sequence[Row]) -> list[str]:
    scores = [row["jaccard"] for row in rows if row["jaccard"]]
    means = [score["mean"] for score in scores]
    numbers = (mean(means), min(means), max(means), mean(score["std"] for score in scores)) if scores else ()
    tidied = [row["jaccard_tidied"] for row in rows if row.get("jaccard_tidied")]
    if scores and len(tidied) == len(scores):
        numbers += tuple(mean(score[name] for score in tidied) for name in ("mean", "std"))
    masks = " of ".join(str(sum(row["plausible"][part] for row in rows)) for part in ("count", "images"))
    return [
        *(f"{number:.2f}" for number in numbers),
        *["-"] * (6 - len(numbers)),
        masks,
        *_told(rows),
        *_expected(rows),
    ]


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
