"""Results files to the tables of the README and of docs/RESULTS.md.

`python -m cxr_jax.report` writes the tables again; `--add NAME=WORKDIR` first keeps the results of a run as
`docs/results/NAME.json`.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = Path("docs/results")
DOCUMENTS = ("README.md", "docs/RESULTS.md")
REQUIRED = (
    "name", "command", "config", "seed", "commit", "device", "source", "target", "label_frac", "image_size", "test"
)  # fmt: skip
BEGIN, END = "<!-- results: python -m cxr_jax.report -->", "<!-- end of results -->"


class ReportError(ValueError):
    """A results file or a document that cannot be used."""


def read_results(folder: Path) -> list[dict[str, Any]]:
    """Return all results of a folder, sorted by name; raise `ReportError` for a file that lacks a field."""
    results = []
    for path in sorted(folder.glob("*.json")):
        row = json.loads(path.read_text())
        missing = [field for field in REQUIRED if field not in row]
        if missing:
            raise ReportError(f"{path} lacks {', '.join(missing)}; add it with --add NAME=WORKDIR")
        results.append(row)
    return results


def add(name: str, workdir: Path, folder: Path) -> Path:
    """Keep the results of a finished run; raise `ReportError` where there are none."""
    source = workdir / "results.json"
    if not source.exists():
        raise ReportError(f"there is no {source}: expected the workdir of a finished run of main.py")
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"name": name, **json.loads(source.read_text())}, indent=1) + "\n")
    return path


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


def insert(document: str, content: str, name: str = "document") -> str:
    """Return `document` with `content` between the markers; raise `ReportError` where they are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ReportError(f"{name} lacks the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def written(root: Path) -> dict[Path, str]:
    """Return what each document must contain, given the results files below `root`."""
    content = table(read_results(root / RESULTS))
    documents = {}
    for name in DOCUMENTS:
        path = root / name
        folder = (root / RESULTS).relative_to(path.parent).as_posix()
        documents[path] = insert(path.read_text(), content.replace("RESULTS_FOLDER", folder), name)
    return documents


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="NAME=WORKDIR", action="append", default=[])
    for pair in parser.parse_args().add:
        name, _, workdir = pair.partition("=")
        add(name, Path(workdir), ROOT / RESULTS)
    for path, content in written(ROOT).items():
        path.write_text(content)


if __name__ == "__main__":
    main()
