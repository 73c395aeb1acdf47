"""Results files to the tables of the README and of docs: RESULTS.md, PERFORMANCE.md and MODEL_CARD.md.

`python -m cxr_jax.report` writes the tables again; `--add NAME=WORKDIR` first keeps the results of a run of
configs/transfer.py or configs/segmentation.py as `docs/results/NAME.json`; `--add-table1 WORKDIR` and `--add-table2
WORKDIR` keep those of configs/table1.py and configs/table2.py as rows of `table1.json` and `table2.json` there;
`--add-best WORKDIR` those of configs/table2.py that compare parts of configs/best.py, without labels, in `best.json`.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_jax import (
    checks,
    figure7,
    figure8,
    report_benchmarks,
    report_best,
    report_shipped,
    report_strange,
    report_table1,
    report_table2,
    results,
)
from cxr_jax.rows import RowsError, markdown_table, with_spread

ROOT = Path(__file__).parent.parent
RESULTS = Path("docs/results")
README, DETAILS = "README.md", "docs/RESULTS.md"
REQUIRED = (
    "name", "command", "config", "seed", "commit", "device", "source", "target", "label_frac", "image_size", "test"
)  # fmt: skip
COLUMNS = {
    "M_A on the source": ("source", "jaccard"),
    "M_A on the target": ("source_only", "jaccard"),
    "before self-training": ("before_self_training", "jaccard"),
    **{results.TITLES[method]: (method, "jaccard") for method in checks.TO_TARGET},
}
TIDIED = {f"{name}, tidied": (part, "jaccard_tidied") for name, (part, _) in list(COLUMNS.items())[1:]}
# The runs that the README shows.
HIGHLIGHTS = (
    "best_small_seed0",
    "phantom_look_deep_fold1_seed0",
    "small_augmented_seed0",
    "small_look_10_epochs_deep_negated_seed0",
    "small_look_seed0",
)
MARKERS = "<!-- {}: python -m cxr_jax.report -->", "<!-- end of {} -->"
LATEX = "docs/table1.tex"
TABLES = {  # by the section of docs/RESULTS.md
    "table 1": report_table1,
    "table 2": report_table2,
    "best": report_best,
}
LISTS = {  # of rows that nothing is asked of: by document, its section and what writes it
    "docs/PERFORMANCE.md": ("benchmarks", report_benchmarks),
    "docs/MODEL_CARD.md": ("shipped", report_shipped),
    "docs/method.md": ("strange", report_strange),
}
SECTIONS = {README: ("results",), DETAILS: ("results", *TABLES)} | {name: (part,) for name, (part, _) in LISTS.items()}
FIGURES = {"docs/figure7.png": (figure7, report_table1), "docs/figure8.png": (figure8, report_table2)}
ROW_FILES = [*(report.FILE for _, report in LISTS.values()), *(report.ROWS.file for report in TABLES.values())]


class ReportError(ValueError):
    """A results file or a document that cannot be used."""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results of single runs in a folder, by name, without the files of tables.

    Raises `ReportError` for a file that is not of a single run or lacks a field.
    """
    runs = []
    for path in sorted(path for path in folder.glob("*.json") if path.name not in ROW_FILES):
        row = _read(path)
        missing = [field for field in REQUIRED if field not in row]
        if missing:
            raise ReportError(f"{path} lacks {', '.join(missing)}; add it with --add NAME=WORKDIR")
        runs.append(row)
    return runs


def add(name: str, workdir: Path, folder: Path) -> Path:
    """Keep the results of a finished run; raise `ReportError` where there are none, or under the name of a table."""
    source = workdir / results.FILE
    if not source.exists():
        raise ReportError(
            f"there is no {source}: expected the workdir of a finished run of main.py; "
            "one of configs/table1.py or table2.py is added with --add-table1 or --add-table2 WORKDIR"
        )
    path = folder / f"{name}.json"
    if path.name in ROW_FILES:
        raise ReportError(f"{path} is for the rows of a table: give the run another name, or use --add-{name} WORKDIR")
    results.write_json(path, {"name": name, **_read(source)})
    return path


def _read(path: Path) -> dict[str, Any]:
    """Return what a results file of a single run holds; raise `ReportError` for one of another kind."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ReportError(
            f"{path} is not of a single run; rows of a table are added with --add-table1 or --add-table2 WORKDIR"
        )
    return content


def table(runs: Sequence[dict[str, Any]], columns: Mapping[str, tuple[str, str]]) -> str:
    """Return the Markdown table of runs: mean and standard deviation over test images, in percent.

    `columns` says by title which test and metric it is of; one that no run has is left out.
    """
    columns = {
        title: (part, metric)
        for title, (part, metric) in columns.items()
        if any(metric in run["test"].get(part, {}) for run in runs)
    }
    head = ["run", "task", "source to target", "labels", "size", *columns]
    lines = []
    for row in runs:
        names = [f"[{row['name']}](RESULTS_FOLDER/{row['name']}.json)", row["config"]["task"]]
        setting = [f"{row['source']} to {row['target']}", f"{100 * row['label_frac']:g} %", f"{row['image_size']}"]
        lines.append([*names, *setting, *(_score(row["test"], *path) for path in columns.values())])
    return markdown_table(head, lines)


def _score(test: dict[str, Any], part: str, metric: str) -> str:
    if metric not in test.get(part, {}):
        return "-"
    return with_spread(test[part][metric]["mean"], test[part][metric]["std"])


def insert(document: str, section: str, content: str, name: str = "document") -> str:
    """Return `document` with `content` between the markers of `section`; raise `ReportError` where they are missing."""
    first, last = (marker.format(section) for marker in MARKERS)
    before, begin, rest = document.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise ReportError(f"{name} lacks the lines {first!r} and {last!r}")
    return f"{before}{first}\n{content}\n{last}{after}"


def written(root: Path) -> dict[Path, str]:
    """Return what each document must contain, given the results files below `root`.

    Raises `ReportError` or `cxr_jax.rows.RowsError` where a file or a document cannot be used.
    """
    runs = read_results(root / RESULTS)
    tables = {
        README: table([run for run in runs if run["name"] in HIGHLIGHTS], COLUMNS),
        DETAILS: table(runs, COLUMNS | TIDIED),
    }
    documents = {}
    for name, content in tables.items():
        path = root / name
        folder = (root / RESULTS).relative_to(path.parent).as_posix()
        documents[path] = insert(path.read_text(), "results", content.replace("RESULTS_FOLDER", folder), name)
    details = root / DETAILS
    for section, report in TABLES.items():
        content = report.markdown(report.ROWS.read(root / RESULTS / report.ROWS.file))
        documents[details] = insert(documents[details], section, content, DETAILS)
    for name, (section, report) in LISTS.items():
        path = root / RESULTS / report.FILE
        content = report.markdown(json.loads(path.read_text()) if path.exists() else [])
        documents[root / name] = insert((root / name).read_text(), section, content, name)
    rows = report_table1.ROWS.read(root / RESULTS / report_table1.ROWS.file)
    return documents | {root / LATEX: report_table1.latex(rows)}


def main() -> None:
    """Write the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="NAME=WORKDIR", action="append", default=[])
    for report in TABLES.values():
        parser.add_argument(f"--add-{report.ROWS.name}", metavar="WORKDIR", action="append", default=[], type=Path)
    parser.add_argument("--mix", action="store_true", help="let rows of several commits or configs stand in one table")
    arguments = parser.parse_args()
    try:
        for pair in arguments.add:
            name, _, workdir = pair.partition("=")
            add(name, Path(workdir), ROOT / RESULTS)
        for report in TABLES.values():
            for workdir in getattr(arguments, f"add_{report.ROWS.name}"):
                report.ROWS.add(workdir, ROOT / RESULTS / report.ROWS.file, mix=arguments.mix)
        documents = written(ROOT)
    except (ReportError, RowsError) as error:
        parser.error(str(error))
    for path, content in documents.items():
        path.write_text(content)
    for path, (figure, report) in FIGURES.items():
        figure.draw(report.ROWS.read(ROOT / RESULTS / report.ROWS.file), ROOT / path)


if __name__ == "__main__":
    main()
