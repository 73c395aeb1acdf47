"""The loop that every stage of training shares: epochs, validation, log, checkpoints, resuming."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from cxr_jax.checkpoints import Checkpoints
from cxr_jax.journal import Journal

PICTURES_EVERY = 10  # epochs


class TrainingDiverged(RuntimeError):
    """A loss became infinite or not a number."""


@dataclass(frozen=True)
class Stage:
    """A training that has its own checkpoints, log and place in the work directory.

    `run_epoch(state, data)` returns the next state and the epoch's mean metrics, `deploy(state)` what is
    tested and used afterwards, and `validate(model)` scalars of which `score` chooses the epoch; without a
    `score` the last epoch is the one to use.
    """

    name: str
    epochs: int
    run_epoch: Callable[[Any, Any], tuple[Any, Mapping[str, jax.Array]]]
    data: Any
    deploy: Callable[[Any], Any]
    validate: Callable[[Any], Mapping[str, float]]
    pictures: Callable[[Any], Mapping[str, Any]]


class Trained(NamedTuple):
    """The best epoch of a stage with its score and model, and the state after the last epoch."""

    epoch: int
    score: float
    model: Any
    state: Any


def train(stage: Stage, state: Any, workdir: Path, config: dict[str, Any]) -> Trained:
    """Train `stage` from `state`, or from where it stopped in `workdir`; train nothing if it had finished."""
    directory = workdir / stage.name
    checkpoints = Checkpoints(directory / "checkpoints", config)
    start, state = checkpoints.resume(state)
    model_shape = jax.eval_shape(stage.deploy, state)
    journal = Journal(directory, start)
    try:
        with tqdm(total=stage.epochs, initial=start, desc=stage.name, unit="epoch") as progress:
            for epoch in range(start + 1, stage.epochs + 1):
                state, metrics = stage.run_epoch(state, stage.data)
                values = _finite(stage.name, epoch, jax.device_get(metrics))
                model = stage.deploy(state)
                values |= stage.validate(model)
                journal.scalars(epoch, values)
                if epoch % PICTURES_EVERY == 0 or epoch == stage.epochs:
                    journal.pictures(epoch, stage.pictures(model))
                checkpoints.save(epoch, model, state, values.get("score", float(epoch)))
                progress.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
                progress.update()
        return Trained(*checkpoints.best(model_shape), state)
    finally:
        journal.close()
        checkpoints.close()


def _finite(stage: str, epoch: int, metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics as floats; raise `TrainingDiverged` naming those that are not finite."""
    values = {name: float(value) for name, value in metrics.items()}
    broken = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainingDiverged(
            f"stage {stage!r}, epoch {epoch}: {', '.join(broken)}. The last good checkpoint is kept; lower the "
            "learning rate or use another seed, in another workdir"
        )
    return values
