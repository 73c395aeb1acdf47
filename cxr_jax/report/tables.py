"""What is made of results files that are lists of rows: the tables, by where they stand."""

from cxr_jax.report import benchmarks, best, outlines, shipped, strange, table1, table2

TABLES = {  # by the section of docs/RESULTS.md
    "table 1": table1,
    "table 2": table2,
    "best": best,
}
LISTS = {  # of rows that nothing is asked of: by section, its document and what writes it
    "benchmarks": ("docs/PERFORMANCE.md", benchmarks),
    "shipped": ("docs/MODEL_CARD.md", shipped),
    "strange": ("docs/method.md", strange),
    "outlines": ("docs/RESULTS.md", outlines),
}
ROW_FILES = [*(table.FILE for _, table in LISTS.values()), *(table.ROWS.file for table in TABLES.values())]
