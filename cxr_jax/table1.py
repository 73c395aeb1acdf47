"""Table I: one experiment a cell, each in its own folder, and the cells' scores over folds and images."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from cxr_jax import config, experiment

SUMMARY = "table1.json"


def run(
    table: config.Table1,
    workdir: Path,
    data_dir: str | None,
    manual_dir: str | None,
    execute: Callable[..., dict[str, Any]] = experiment.train,
) -> list[dict[str, Any]]:
    """Execute the experiments of the grid, each in its folder of `workdir`; write and return the table's rows.

    `execute` is `experiment.train`, which leaves finished cells alone (so more seeds, folds or segmenters only add
    cells), or `experiment.evaluate`. A cell of another config raises `cxr_jax.experiment.WorkdirError` before
    anything is trained.
    """
    cells = table.experiments()
    for name, cell in cells.items():
        experiment.claim(workdir / name, cell)
    for name, cell in tqdm(cells.items(), desc="cells"):
        finished = (workdir / name / "results.json").exists()
        if execute is not experiment.train or not finished:
            execute(cell, workdir / name, data_dir, manual_dir)
    rows = summarise(table, workdir)
    experiment.write_json(workdir / SUMMARY, rows)
    return rows


def summarise(table: config.Table1, workdir: Path) -> list[dict[str, Any]]:
    """Return a row for each segmenter, organ and seed from the results of its folds."""
    rows = []
    for segmenter in table.segmenters:
        for task in table.tasks:
            for seed in table.seeds:
                names = [f"{segmenter}/{task}_fold{fold}_seed{seed}" for fold in table.folds]
                folds = [json.loads((workdir / name / "results.json").read_text()) for name in names]
                rows.append(_row(table, segmenter, task, seed, folds))
    return rows


def _row(table: config.Table1, segmenter: str, task: str, seed: int, folds: list[dict[str, Any]]) -> dict[str, Any]:
    first = folds[0]
    tests = [fold["test"]["source"] for fold in folds]
    return {
        "segmenter": segmenter,
        "organ": task,
        "protocol": table.protocol,
        "image_size": table.image_size,
        "folds": list(table.folds),
        "seed": seed,
        "device": first["device"],
        "commit": first["commit"],
        "commands": sorted({fold["command"] for fold in folds}),
        "config": first["config"],
        "data": first["data"],
        "versions": first["versions"],
        **{metric: spread([test[metric]["per_image"] for test in tests]) for metric in tests[0]},
    }


def spread(folds: list[dict[str, float]]) -> dict[str, Any]:
    """Return mean and both spreads of one metric: over the folds' means and over all test images."""
    means = [float(np.mean(list(fold.values()))) for fold in folds]
    images = {name: value for fold in folds for name, value in fold.items()}
    values = list(images.values())
    return {
        "mean": float(np.mean(values)),
        "std_folds": float(np.std(means, ddof=1)) if len(means) > 1 else 0.0,
        "std_images": float(np.std(values, ddof=1)),
        "per_fold": means,
        "per_image": images,
    }


def screen(rows: list[dict[str, Any]]) -> str:
    """Return the table for the terminal: Jaccard and Dice, mean and spread over folds."""
    lines = [f"{rows[0]['protocol']}, {rows[0]['image_size']} px, {len(rows[0]['folds'])} folds"]
    for row in rows:
        scores = [f"{name} {row[name]['mean']:6.2f} +/- {row[name]['std_folds']:5.2f}" for name in ("jaccard", "dice")]
        lines.append(f"  {row['segmenter']:12} {row['organ']:10} seed {row['seed']}   {'   '.join(scores)}")
    return "\n".join(lines)
