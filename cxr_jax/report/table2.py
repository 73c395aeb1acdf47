"""Table II as Markdown, and what transfer gains over its baselines, from the rows of `docs/results/table2.json`."""

from collections.abc import Mapping, Sequence
from statistics import mean

from cxr_jax.report import without_labels
from cxr_jax.report.cells import METHODS, PAPERS, ROWS, column, settings
from cxr_jax.report.published import TABLE2
from cxr_jax.report.rows import Row, markdown_table, printed_test, with_spread
from cxr_jax.statistics import holm

# What transfers have in common whose seeds are counted together.
KIND = ("source", "target", "task", "protocol", "image_size", "segmenter", "backend", "label_frac")


def markdown(rows: Sequence[Row]) -> str:
    """Return the tables: ours beside the published figures, transfer against its baselines, how often it converged."""
    if not rows:
        return ROWS.nothing
    labelled = [row for row in rows if row["jaccard"]]
    parts = [
        markdown_table(["protocol", "size", "labels", "images", *_columns(labelled)], _lines(labelled)),
        "Transfer less other methods on the same test images (Wilcoxon's signed ranks, Holm's correction over shares):",
        _gains(labelled),
        "Seeds of transfers: how many converged by themselves, and with restarts (told without labels, "
        "`cxr_jax/convergence.py`), and the Jaccard of each, the mean over its test images:",
        _stability(rows),
        without_labels.markdown(rows),
    ]
    return "\n\n".join(parts)


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
        pair = f"{gain['one']} less {gain['other']}"
        where = f"{protocol}, {segmenter}, {target} {task}, {size} px, seed {seed}"
        lines.append([pair, where, f"{100 * gain['share']:g} %", *printed_test(gain["test"], gain["p_holm"])])
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
