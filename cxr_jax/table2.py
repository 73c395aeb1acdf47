"""Table II: transfer and what it is compared with at each share of the target's labels, as one grid."""

import json
from pathlib import Path
from typing import Any

from cxr_jax import grid, plans, results
from cxr_jax.files import write_json
from cxr_jax.runs import Run

SUMMARY = "table2.json"


def train(table: plans.Table2, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Train and test what is missing of the grid, each cell in its folder of `workdir`; write and return the rows.

    M_A and the warmed-up translator of a seed are trained once, in the folder `start` of that seed, and all cells go on
    from them; a task that the target has no labels for has an M_A of its own. At a share, all methods learn from the
    same labelled images. A finished cell is left alone, so more seeds or shares only add cells. The cells of a method
    train together, `table.together` at once.
    """
    cells = sorted(_cells(table, workdir), key=lambda cell: (cell.experiment.task in table.qualitative, _kind(cell)))
    grid.train(cells, table.together, _kind, data_dir, manual_dir)
    return _write(table, workdir)


def evaluate(table: plans.Table2, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Test the checkpoints of a finished table again; write and return the rows."""
    grid.evaluate(_cells(table, workdir), data_dir, manual_dir)
    return _write(table, workdir)


def _cells(table: plans.Table2, workdir: Path) -> list[Run]:
    """Return the runs; a qualitative task has its own M_A, and the warmed-up translator of all."""
    starts = {seed: Run(start, workdir / f"seed{seed}" / "start") for seed, start in table.starts().items()}
    return [
        Run(cell, workdir / name, warm_start=starts[cell.seed])
        if cell.task in table.qualitative
        else Run(cell, workdir / name, starts[cell.seed])
        for name, cell in table.experiments().items()
    ]


def _kind(cell: Run) -> tuple[str, str, bool]:
    """Return what cells that train together have in common: without labels, none of B enters the supervised step."""
    return cell.experiment.task, cell.experiment.method, cell.experiment.label_frac > 0


def _write(table: plans.Table2, workdir: Path) -> list[dict[str, Any]]:
    rows = [
        _row(table.protocol, cell, json.loads((cell.workdir / results.FILE).read_text()))
        for cell in _cells(table, workdir)
    ]
    write_json(workdir / SUMMARY, rows)
    return rows


def _row(protocol: str, cell: Run, found: dict[str, Any]) -> dict[str, Any]:
    """Return a cell as a row; `std` is over test images."""
    experiment = cell.experiment
    kept = ("labelled_images", "image_size", "seed", "device", "commit", "command", "config", "data", "versions")
    return {
        "method": experiment.method,
        "backend": experiment.translator["name"] if experiment.method == "transfer" else None,
        "segmenter": experiment.segmenter["name"],
        "task": experiment.task,
        "source": experiment.source,
        "target": experiment.target,
        "label_frac": experiment.label_frac,
        "protocol": protocol,
        "converged": found.get("converged"),
        "restarts": found.get("restarts"),
        **{name: found[name] for name in kept},
        "plausible": found["plausible"][experiment.method],
        **_told_since(found, experiment.method),
        **found["test"].get(experiment.method, {"jaccard": None, "dice": None}),
    }


def _told_since(found: dict[str, Any], method: str) -> dict[str, Any]:
    """Return what results have that older ones lack, where they do: what Jaccard was to be expected, told by what."""
    if "expected_jaccard" not in found:
        return {}
    return {"expected_jaccard": found["expected_jaccard"][method], "tested": found["tested"]}


def screen(rows: list[dict[str, Any]]) -> str:
    """Return the table for the terminal: Jaccard, mean and spread over test images, a line a share of labels."""
    task = rows[0]["task"]  # the table's; others follow it
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = {(row["seed"], row["label_frac"], row["method"]): row for row in rows if row["task"] == task}
    lines = [f"{rows[0]['protocol']}, {rows[0]['image_size']} px   " + "".join(f"{name:>20}" for name in methods)]
    for seed, share in sorted({key[:2] for key in cells}):
        scores = "".join(f"{_score(cells.get((seed, share, method), {})):>20}" for method in methods)
        lines.append(f"  seed {seed}, {100 * share:6.2f} %  {scores}")
    for row in rows:
        if row["task"] != task:
            found, line = row["plausible"], f"  seed {row['seed']}, {row['task']}: "
            line += f"{found['count']} of {found['images']} masks plausible"
            if "expected_jaccard" in row:
                line += f", expected jaccard {row['expected_jaccard']['mean']:.2f}"
            lines.append(line)
    return "\n".join(lines)


def _score(row: dict[str, Any]) -> str:
    return f"{row['jaccard']['mean']:.2f} +/- {row['jaccard']['std']:.2f}" if row.get("jaccard") else "-"
