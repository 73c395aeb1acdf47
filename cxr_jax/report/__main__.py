"""Results files to the tables of the README and of docs: RESULTS.md, PERFORMANCE.md, MODEL_CARD.md and method.md.

`python -m cxr_jax.report` writes the tables again; `--add NAME=WORKDIR` first keeps the results of a run of
configs/transfer.py or configs/segmentation.py as `docs/results/NAME.json`; `--add-table1 WORKDIR` and `--add-table2
WORKDIR` keep those of configs/table1.py and configs/table2.py as rows of `table1.json` and `table2.json` there;
`--add-best WORKDIR` those of configs/table2.py that compare parts of configs/best.py, without labels, in `best.json`.
"""

import argparse
from pathlib import Path

from cxr_jax.report import documents, single_runs
from cxr_jax.report.rows import RowsError
from cxr_jax.report.single_runs import ReportError
from cxr_jax.report.tables import TABLES


def main() -> None:
    """Write the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", metavar="NAME=WORKDIR", action="append", default=[])
    for table in TABLES.values():
        parser.add_argument(f"--add-{table.ROWS.name}", metavar="WORKDIR", action="append", default=[], type=Path)
    parser.add_argument("--mix", action="store_true", help="let rows of several commits or configs stand in one table")
    arguments = parser.parse_args()
    folder = documents.ROOT / documents.RESULTS
    try:
        for pair in arguments.add:
            name, _, workdir = pair.partition("=")
            single_runs.add(name, Path(workdir), folder)
        for table in TABLES.values():
            for workdir in getattr(arguments, f"add_{table.ROWS.name}"):
                table.ROWS.add(workdir, folder / table.ROWS.file, mix=arguments.mix)
        contents = documents.written(documents.ROOT)
    except (ReportError, RowsError) as error:
        parser.error(str(error))
    for path, content in contents.items():
        path.write_text(content)
    for path, (figure, table) in documents.FIGURES.items():
        figure.draw(table.ROWS.read(folder / table.ROWS.file), documents.ROOT / path)


if __name__ == "__main__":
    main()
