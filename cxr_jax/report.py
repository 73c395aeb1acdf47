"""Results files to the tables of the README and of docs/RESULTS.md.

`python -m cxr_jax.report` writes the tables again; `--add NAME=WORKDIR` first keeps the results of a run of
configs/transfer.py or configs/segmentation.py as `docs/results/NAME.json`, and `--add-table1 WORKDIR` those of a run of
configs/table1.py as rows of `docs/results/table1.json`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cxr_jax import figure7, report_table1

ROOT = Path(__file__).parent.parent
RESULTS = Path("docs/results")
DOCUMENTS = ("README.md", "docs/RESULTS.md")
REQUIRED = (
    "name", "command", "config", "seed", "commit", "device", "source", "target", "label_frac", "image_size", "test"
)  # fmt: skip
MARKERS = "<!-- {}: python -m cxr_jax.report -->", "<!-- end of {} -->"
TABLE1, LATEX, FIGURE7 = RESULTS / report_table1.FILE, "docs/table1.tex", "docs/figure7.png"


class ReportError(ValueError):
    """A results file or a document that cannot be used."""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return the results of single runs in a folder, by name; Table I's file, which has its own report, is left out.

    Raises `ReportError` for a file that is not of a single run or lacks a field.
    """
    results = []
    for path in sorted(set(folder.glob("*.json")) - {folder / report_table1.FILE}):
        row = _read(path)
        missing = [field for field in REQUIRED if field not in row]
        if missing:
            raise ReportError(f"{path} lacks {', '.join(missing)}; add it with --add NAME=WORKDIR")
        results.append(row)
    return results


def add(name: str, workdir: Path, folder: Path) -> Path:
    """Keep the results of a finished run; raise `ReportError` where there are none, or under the name of Table I."""
    source = workdir / "results.json"
    if not source.exists():
        raise ReportError(
            f"there is no {source}: expected the workdir of a finished run of main.py; "
            "one of configs/table1.py is added with --add-table1 WORKDIR"
        )
    path = folder / f"{name}.json"
    if path.name == report_table1.FILE:
        raise ReportError(f"{path} is for the rows of Table I: give the run another name, or use --add-table1 WORKDIR")
    path.write_text(json.dumps({"name": name, **_read(source)}, indent=1) + "\n")
    return path


def _read(path: Path) -> dict[str, Any]:
    """Return what a results file of a single run holds; raise `ReportError` for one of another kind."""
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ReportError(f"{path} is not of a single run; rows of Table I are added with --add-table1 WORKDIR")
    return content


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown table of runs: Jaccard, mean and standard deviation over test images, in percent."""
    lines = [
        "| run | task | source to target | labels | size | M_A on the source | M_A on the target | transfer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in results:
        scores = [_score(row["test"], part) for part in ("source", "source_only", "transfer")]
        route = f"{row['source']} to {row['target']}"
        share, size = f"{100 * row['label_frac']:g} %", f"{row['image_size']}"
        cells = [
            f"[{row['name']}](RESULTS_FOLDER/{row['name']}.json)",
            row["config"]["task"],
            route,
            share,
            size,
            *scores,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _score(test: dict[str, Any], part: str) -> str:
    if part not in test:
        return "-"
    return f"{test[part]['jaccard']['mean']:.2f} ± {test[part]['jaccard']['std']:.2f}"


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

    Raises `ReportError` or `cxr_jax.report_table1.Table1Error` where a file or a document cannot be used.
    """
    content = table(read_results(root / RESULTS))
    documents = {}
    for name in DOCUMENTS:
        path = root / name
        folder = (root / RESULTS).relative_to(path.parent).as_posix()
        documents[path] = insert(path.read_text(), "results", content.replace("RESULTS_FOLDER", folder), name)
    rows = report_table1.read(root / TABLE1)
    results = root / DOCUMENTS[-1]
    documents[results] = insert(documents[results], "table 1", report_table1.markdown(rows), results.name)
    return documents | {root / LATEX: report_table1.latex(rows)}


def main() -> None:
    """Write the tables and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="NAME=WORKDIR", action="append", default=[])
    parser.add_argument("--add-table1", metavar="WORKDIR", action="append", default=[], type=Path)
    arguments = parser.parse_args()
    try:
        for pair in arguments.add:
            name, _, workdir = pair.partition("=")
            add(name, Path(workdir), ROOT / RESULTS)
        for workdir in arguments.add_table1:
            report_table1.add(workdir, ROOT / TABLE1)
        documents = written(ROOT)
    except (ReportError, report_table1.Table1Error) as error:
        parser.error(str(error))
    for path, content in documents.items():
        path.write_text(content)
    figure7.draw(report_table1.read(ROOT / TABLE1), ROOT / FIGURE7)


if __name__ == "__main__":
    main()
