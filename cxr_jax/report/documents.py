"""The documents that hold tables and figures, and what writes each."""

from pathlib import Path

from cxr_jax.files import read_json
from cxr_jax.report import best, figure7, figure8, headline, table1, table2
from cxr_jax.report.single_runs import COLUMNS, TIDIED, ReportError, read_results, table
from cxr_jax.report.tables import LISTS, TABLES

ROOT = Path(__file__).parent.parent.parent
RESULTS = Path("docs/results")
README, DETAILS = "README.md", "docs/RESULTS.md"
# The runs that the README shows.
HIGHLIGHTS = (
    "best_small_seed0",
    "phantom_look_deep_fold1_seed0",
    "small_look_10_epochs_deep_negated_seed0",
    "small_look_seed0",
    "small_seed0",
)
MARKERS = "<!-- {}: python -m cxr_jax.report -->", "<!-- end of {} -->"
LATEX = "docs/table1.tex"
PLACES = [
    *((README, section) for section in ("headline", "results")),
    *((DETAILS, section) for section in ("results", *TABLES)),
    *((name, section) for section, (name, _) in LISTS.items()),
]  # documents and their sections
FIGURES = {"docs/figure7.png": (figure7, table1), "docs/figure8.png": (figure8, table2)}


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

    Raises `ReportError` or `cxr_jax.report.rows.RowsError` where a file or a document cannot be used.
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
    for section, (name, report) in LISTS.items():
        content = report.markdown(read_json(root / RESULTS / report.FILE, []))
        before = documents.get(root / name) or (root / name).read_text()
        documents[root / name] = insert(before, section, content, name)
    front = headline.markdown(*(part.ROWS.read(root / RESULTS / part.ROWS.file) for part in (table2, best)))
    documents[root / README] = insert(documents[root / README], "headline", front, README)
    rows = table1.ROWS.read(root / RESULTS / table1.ROWS.file)
    return documents | {root / LATEX: table1.latex(rows)}
