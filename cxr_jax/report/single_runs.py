"""Results of single runs: kept as files of their own, and their table."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_jax import results
from cxr_jax.files import write_json
from cxr_jax.report.rows import markdown_table, with_spread
from cxr_jax.report.tables import ROW_FILES

REQUIRED = (
    "name", "command", "config", "seed", "commit", "device", "source", "target", "label_frac", "image_size", "test"
)  # fmt: skip
COLUMNS = {title: (part, "jaccard") for part, title in results.TITLES.items()}
TIDIED = {f"{name}, tidied": (part, "jaccard_tidied") for name, (part, _) in list(COLUMNS.items())[1:]}


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
        raise ReportError(f"{path} is for the rows of a table: give the run another name, --add NAME=WORKDIR")
    write_json(path, {"name": name, **_read(source)})
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
