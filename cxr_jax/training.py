"""The loop that every stage of training shares: epochs, validation, log, checkpoints, resuming, several members."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from tqdm import tqdm

from cxr_jax import devices
from cxr_jax.checkpoints import Checkpoints, saved_epochs
from cxr_jax.journal import Journal

PICTURES_EVERY = 10  # epochs


class TrainingDiverged(RuntimeError):
    """A loss became infinite or not a number."""


@dataclass(frozen=True)
class Stage:
    """What the members of a training share: `iteration(state, data)` returns the next state and metrics."""

    name: str
    epochs: int
    steps: int  # iterations of an epoch
    iteration: Callable[[Any, Any], tuple[Any, Mapping[str, jax.Array]]]
    batch_size: int  # of an iteration, which several devices can share


@runtime_checkable
class Changing(Protocol):
    """Data that are others in each epoch; those of an epoch must not depend on which were asked for before."""

    def of_epoch(self, epoch: int) -> Any:
        """Return the data of an epoch, the first being 0."""

    def close(self) -> None:
        """Stop whatever makes data ahead of time."""


@dataclass(frozen=True)
class Member:
    """One training: its first state, its data, its place on disk, and how its model is made and judged.

    The data are those of every epoch, or `Changing`.
    `deploy(state)` makes what is tested and used afterwards, and `validate(model)` scalars of which `score` chooses
    the epoch; without a `score` the last epoch is the one to use. Where the `start_counts`, the model of the first
    state is a candidate too, as epoch 0: training from it then never ends with a lower score.
    """

    state: Any
    data: Any
    workdir: Path
    config: dict[str, Any]
    deploy: Callable[[Any], Any]
    validate: Callable[[Any], Mapping[str, float]]
    pictures: Callable[[Any], Mapping[str, Any]]
    start_counts: bool = False


class Trained(NamedTuple):
    """The best epoch of a member with its score and model, and the state after the last epoch."""

    epoch: int
    score: float
    model: Any
    state: Any


def train(stage: Stage, members: Sequence[Member]) -> list[Trained]:
    """Do as `attempt`, but raise `TrainingDiverged` for the first member that diverged, when the others have ended."""
    outcomes = attempt(stage, members)
    for outcome in outcomes:
        if isinstance(outcome, TrainingDiverged):
            raise outcome
    return outcomes


def attempt(stage: Stage, members: Sequence[Member]) -> list[Trained | TrainingDiverged]:
    """Train every member from its state, or from where it stopped in its workdir; finished ones are left alone.

    Members at the same epoch advance together, in one program (`cxr_jax.devices`), so their states and data must
    have the same shapes. Each keeps the log and the checkpoints that it would have by itself.
    """
    epoch_of = functools.cache(functools.partial(devices.epoch_of, stage.iteration, stage.steps, stage.batch_size))
    runs, failures = [], {}
    try:
        for member in members:
            runs.append(_Run(stage, member))
        active = list(runs)
        done, quiet = sum(run.epoch for run in runs), not devices.is_primary()
        with tqdm(
            total=stage.epochs * len(runs), initial=done, desc=stage.name, unit="epoch", disable=quiet
        ) as progress:
            while active := [run for run in active if run.epoch < stage.epochs]:
                group = [run for run in active if run.epoch == min(run.epoch for run in active)]
                advanced = epoch_of(len(group))([run.state for run in group], [run.data() for run in group])
                for run, (state, metrics) in zip(group, advanced, strict=True):
                    try:
                        values = run.record(state, jax.device_get(metrics))
                    except TrainingDiverged as error:
                        failures[id(run)] = error
                        active.remove(run)
                        continue
                    progress.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
                    progress.update()
        return [failures.get(id(run)) or run.trained() for run in runs]
    finally:
        for run in runs:
            run.close()
        devices.wait_for_all(stage.name)


class _Run:
    """A member on its way through a stage: its epoch, its state and what it leaves on disk."""

    def __init__(self, stage: Stage, member: Member):
        """Open the member's folder and take up its latest checkpoint."""
        self.stage, self.member = stage, member
        directory = member.workdir / stage.name
        self.checkpoints = Checkpoints(directory / "checkpoints", {"stage": stage.name, "config": member.config})
        self.epoch, self.state = self.checkpoints.resume(member.state)
        self.model_shape = jax.eval_shape(member.deploy, self.state)
        self.journal = Journal(directory, self.epoch)
        if member.start_counts and not saved_epochs(directory / "checkpoints"):
            self._keep(0, self.state, {})

    def data(self) -> Any:
        """Return the data of the epoch that comes next."""
        data = self.member.data
        return data.of_epoch(self.epoch) if isinstance(data, Changing) else data

    def record(self, state: Any, metrics: Mapping[str, Any]) -> dict[str, float]:
        """Take the state after one more epoch; raise `TrainingDiverged` if its losses are not finite."""
        epoch = self.epoch + 1
        return self._keep(epoch, state, _finite(self.stage.name, epoch, metrics, self.member.workdir))

    def _keep(self, epoch: int, state: Any, values: dict[str, float]) -> dict[str, float]:
        """Judge the state after an epoch and write it down; return all its scalars."""
        model = self.member.deploy(state)
        values = {**values, **self.member.validate(model)}
        self.journal.scalars(epoch, values)
        if epoch and (epoch % PICTURES_EVERY == 0 or epoch == self.stage.epochs):
            self.journal.pictures(epoch, self.member.pictures(model))
        self.checkpoints.save(epoch, model, state, values.get("score", float(epoch)))
        self.epoch, self.state = epoch, state
        return values

    def trained(self) -> Trained:
        """Return the outcome."""
        return Trained(*self.checkpoints.best(self.model_shape), self.state)

    def close(self) -> None:
        """Wait until everything is on disk."""
        if isinstance(self.member.data, Changing):
            self.member.data.close()
        self.journal.close()
        self.checkpoints.close()


def _finite(stage: str, epoch: int, metrics: Mapping[str, Any], workdir: Path) -> dict[str, float]:
    """Return the metrics as floats; raise `TrainingDiverged` naming those that are not finite."""
    values = {name: float(value) for name, value in metrics.items()}
    broken = [f"{name} = {value}" for name, value in values.items() if not math.isfinite(value)]
    if broken:
        raise TrainingDiverged(
            f"stage {stage!r}, epoch {epoch}: {', '.join(broken)}. The last good checkpoint is kept in {workdir}; "
            "lower the learning rate or use another seed, in another workdir"
        )
    return values
