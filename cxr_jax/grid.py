"""Many experiments as one run: the cells of a table, each in a folder of its own."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import jax
from tqdm import tqdm

from cxr_jax import datasets, devices, experiment
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.results import FILE
from cxr_jax.runs import Run, require_own
from cxr_jax.training import TrainingDiverged


def train(
    cells: Sequence[Run],
    together: int,
    kind: Callable[[Run], Any],
    data_dir: str | None,
    manual_dir: str | None,
) -> None:
    """Train and test what is missing of the cells; a finished one is left alone.

    Neighbours of one `kind` train together, `together` at once, on a CPU as many as it has devices (one, unless XLA was
    told otherwise), which is faster there. A cell of another config raises `cxr_jax.runs.WorkdirError`, and one that
    the datasets cannot serve their error, before anything is trained. `TrainingDiverged` of the first cell whose losses
    are never finite is raised when all others are trained and tested.
    """
    for cell in cells:
        require_own(cell)
    devices.wait_for_all("grid")
    missing = [cell for cell in cells if not (cell.workdir / FILE).exists()]
    datasets.require([cell.experiment for cell in missing], data_dir, manual_dir)
    diverged = []
    size = min(together, jax.device_count()) if jax.default_backend() == "cpu" else together
    with tqdm(total=len(cells), initial=len(cells) - len(missing), desc="cells") as progress:
        for _, neighbours in groupby(missing, key=kind):
            row = list(neighbours)
            for start in range(0, len(row), size):
                diverged += _train_together(row[start : start + size], data_dir, manual_dir)
                progress.update(len(row[start : start + size]))
    devices.wait_for_all("end of grid")
    if diverged:
        raise diverged[0]


def _train_together(cells: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> list[TrainingDiverged]:
    """Train and test cells; return why some diverged. Their neighbours go on in halves, from where they were."""
    try:
        experiment.train_together(cells, data_dir, manual_dir)
    except TrainingDiverged as error:
        if len(cells) == 1:
            return [error]
        middle = len(cells) // 2
        halves = cells[:middle], cells[middle:]
        return [fault for half in halves for fault in _train_together(half, data_dir, manual_dir)]
    return []


def evaluate(cells: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> None:
    """Test the checkpoints of finished cells again; raise `CheckpointError` where one is not, before any is tested."""
    for cell in cells:
        if not (cell.workdir / FILE).exists():
            raise CheckpointError(f"cell {cell.workdir} is not finished: give the command with --mode=train")
    for cell in tqdm(cells, desc="cells"):
        experiment.evaluate_run(cell, data_dir, manual_dir)
