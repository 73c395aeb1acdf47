"""Many experiments as one run: the cells of a table, each in a folder of its own."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import jax
from absl import logging
from tqdm import tqdm

from cxr_jax import datasets, devices, experiment
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.errors import UserError
from cxr_jax.polarity import PolarityError
from cxr_jax.results import FILE
from cxr_jax.runs import Run, claim, require_own
from cxr_jax.training import TrainingDiverged

ALONE = TrainingDiverged, PolarityError  # what is wrong with a cell and need not be with others


def train(
    cells: Sequence[Run],
    together: int,
    kind: Callable[[Run], Any],
    data_dir: str | None,
    manual_dir: str | None,
) -> None:
    """Train and test what is missing of the cells; a finished one is left alone.

    Neighbours of one `kind` train together, `together` at once, on a CPU as many as it has devices (one, unless XLA was
    told otherwise), which is faster there. A cell of another config, or that has learned from other images or masks of
    a folder than are in it now, raises `cxr_jax.runs.WorkdirError`, and one that the datasets cannot serve their error,
    before anything is trained. What keeps a single cell from being trained (`ALONE`) is raised for the first such cell
    when all others are trained and tested.
    """
    for cell in cells:
        require_own(cell)
    devices.wait_for_all("grid")
    missing = [cell for cell in cells if not (cell.workdir / FILE).exists()]
    asked = [cell for cell in cells if cell in missing or cell.experiment.source_dir or cell.experiment.target_dir]
    for place, data in datasets.each([cell.experiment for cell in asked], data_dir, manual_dir):
        if asked[place] not in missing:
            claim(asked[place], data)
    failed = []
    size = min(together, jax.device_count()) if jax.default_backend() == "cpu" else together
    with tqdm(total=len(cells), initial=len(cells) - len(missing), desc="cells") as progress:
        for _, neighbours in groupby(missing, key=kind):
            row = list(neighbours)
            for start in range(0, len(row), size):
                failed += _train_together(row[start : start + size], data_dir, manual_dir)
                progress.update(len(row[start : start + size]))
    devices.wait_for_all("end of grid")
    if failed:
        raise failed[0]


def _train_together(cells: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> list[UserError]:
    """Train and test cells; return why some could not be. Their neighbours go on in halves, from where they were.

    So do cells that together need more memory than the device has.
    """
    try:
        experiment.train_together(cells, data_dir, manual_dir)
        return []
    except ALONE as error:
        if len(cells) == 1:
            return [error]
    except jax.errors.JaxRuntimeError as error:
        if len(cells) == 1 or "RESOURCE_EXHAUSTED" not in str(error):
            raise
        logging.warning("%d cells need more memory than there is: they train in halves", len(cells))
    middle = len(cells) // 2
    return [fault for half in (cells[:middle], cells[middle:]) for fault in _train_together(half, data_dir, manual_dir)]


def evaluate(cells: Sequence[Run], data_dir: str | None, manual_dir: str | None) -> None:
    """Test the checkpoints of finished cells again; raise `CheckpointError` where one is not, before any is tested."""
    for cell in cells:
        if not (cell.workdir / FILE).exists():
            raise CheckpointError(f"cell {cell.workdir} is not finished: give the command with --mode=train")
    for cell in tqdm(cells, desc="cells"):
        experiment.evaluate_run(cell, data_dir, manual_dir)
