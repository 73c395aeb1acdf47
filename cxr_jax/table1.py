"""Table I: one experiment a cell, each in its own folder, and the cells' scores over folds and images."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from cxr_jax import files, grid, pictures, plans, results, statistics
from cxr_jax.runs import Run, WorkdirError

SUMMARY = "table1.json"


def train(table: plans.Table1, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Train and test what is missing of the grid, each cell in its folder of `workdir`; write and return the rows.

    A finished cell is left alone, so more seeds, folds or segmenters only add cells. The cells of a segmenter train
    together, `table.together` at once.
    """
    grid.train(_cells(table, workdir), table.together, lambda cell: cell.experiment.segmenter, data_dir, manual_dir)
    return _write(table, workdir)


def evaluate(table: plans.Table1, workdir: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Test the checkpoints of a finished table again; write and return the rows."""
    grid.evaluate(_cells(table, workdir), data_dir, manual_dir)
    return _write(table, workdir)


def _cells(table: plans.Table1, workdir: Path) -> list[Run]:
    return [Run(cell, workdir / name) for name, cell in table.experiments().items()]


def _write(table: plans.Table1, workdir: Path) -> list[dict[str, Any]]:
    rows = summarise(table, workdir)
    files.write_json(workdir / SUMMARY, rows)
    cells = {
        (segmenter, task): workdir / table.folder(segmenter, task, table.folds[0], table.seeds[0])
        for segmenter in table.segmenters
        for task in table.tasks
    }
    overlays = {names: folder / "overlays" / "source.png" for names, folder in cells.items()}
    pictures.contact_sheet(overlays, workdir / "overlays.png")
    return rows


def summarise(table: plans.Table1, workdir: Path) -> list[dict[str, Any]]:
    """Return a row for each segmenter, organ and seed from the results of its folds."""
    rows = []
    for segmenter in table.segmenters:
        for task in table.tasks:
            for seed in table.seeds:
                names = [table.folder(segmenter, task, fold, seed) for fold in table.folds]
                folds = [json.loads((workdir / name / results.FILE).read_text()) for name in names]
                rows.append(_row(table, segmenter, task, seed, folds))
    return rows


def _row(table: plans.Table1, segmenter: str, task: str, seed: int, folds: list[dict[str, Any]]) -> dict[str, Any]:
    first = folds[0]
    others = [fold["command"] for fold in folds if fold["data"] != first["data"]]
    if others:
        raise WorkdirError(
            f"{segmenter}, {task}, seed {seed}: expected all folds to be of the same images and masks, found others in "
            f"that of {others[0]!r}: give the table another --workdir"
        )
    tests = [fold["test"]["source"] for fold in folds]
    return {
        "segmenter": segmenter,
        "organ": task,
        "protocol": table.protocol,
        "image_size": table.experiment.image_size,
        "folds": list(table.folds),
        "seed": seed,
        "device": first["device"],
        "commit": ", ".join(sorted({fold["commit"] for fold in folds})),
        "commands": sorted({fold["command"] for fold in folds}),
        "config": first["config"],
        "data": first["data"],
        "versions": first["versions"],
        **{metric: spread([test[metric]["per_image"] for test in tests]) for metric in tests[0]},
    }


def spread(folds: list[dict[str, float]]) -> dict[str, Any]:
    """Return the mean of one metric over all test images, its spreads and its intervals, each named for what it is.

    `std_folds` and `t_95_folds` (Student's interval) are of the folds' means, null for one fold; `std_images` and
    `bootstrap_95` (the interval of the mean) of all test images.
    """
    means = [float(np.mean(list(fold.values()))) for fold in folds]
    images = {name: round(value, 4) for fold in folds for name, value in fold.items()}
    values = list(images.values())
    several = len(means) > 1
    return {
        "mean": float(np.mean(values)),
        "std_folds": float(np.std(means, ddof=1)) if several else None,
        "std_images": float(np.std(values, ddof=1)),
        "t_95_folds": list(statistics.t_interval(means)) if several else None,
        "bootstrap_95": list(statistics.bootstrap_interval(values)),
        "per_fold": means,
        "per_image": images,
    }


def screen(rows: list[dict[str, Any]]) -> str:
    """Return the table for the terminal: Jaccard and Dice, mean and spread over test images."""
    lines = [f"{rows[0]['protocol']}, {rows[0]['image_size']} px, {len(rows[0]['folds'])} folds"]
    for row in rows:
        scores = [f"{name} {row[name]['mean']:6.2f} +/- {row[name]['std_images']:5.2f}" for name in ("jaccard", "dice")]
        lines.append(f"  {row['segmenter']:12} {row['organ']:10} seed {row['seed']}   {'   '.join(scores)}")
    return "\n".join(lines)
