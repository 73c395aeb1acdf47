"""The loop that every stage of training shares: epochs, validation, log, checkpoints, resuming, several members.

The device hardly waits for the host: what an epoch leaves is judged by programs that are sent off behind it, and
written down by a thread of its own while the next epoch runs. Where epochs are short, not each has a checkpoint: the
latest and the best have one every half minute. Several processes do wait for each other, and save after each epoch: by
programs, which all must send off in the same order, so that there the thread that sends off epochs writes too.
"""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from tqdm import tqdm

from cxr_jax import devices, provenance
from cxr_jax.checkpoints import Checkpoints, saved_epochs, to_host
from cxr_jax.errors import UserError
from cxr_jax.journal import Journal

PICTURES_EVERY = 10  # epochs, and of the first and the last
CHECKPOINT_EVERY = 30.0  # seconds, and after the last epoch: writing one may take longer than a short epoch

# Waits for what was sent off to the device, and returns what came of it. It sends off nothing itself, as `np.mean` of a
# JAX array does: that would queue behind the next epoch.
Later = Callable[[], Mapping[str, Any]]


class TrainingDiverged(UserError):
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
    the epoch; without a `score` the last epoch is the one to use. Neither it nor `pictures(model)` waits for the
    device: what they return does. Where the `start_counts`, the model of the first state is a candidate too, as epoch
    0: training from it then never ends with a lower score.
    """

    state: Any
    data: Any
    workdir: Path
    about: Mapping[str, Any]  # what its checkpoints say of the model, beside stage and what made it
    deploy: Callable[[Any], Any]
    validate: Callable[[Any], Later]
    pictures: Callable[[Any], Later]
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
    with contextlib.ExitStack() as opened:  # all are closed, whatever happens to one
        for member in members:
            runs.append(_Run(stage, member))
            opened.callback(runs[-1].close)
        done, quiet = sum(run.epoch for run in runs), not devices.is_primary()
        bar = tqdm(total=stage.epochs * len(runs), initial=done, desc=stage.name, unit="epoch", disable=quiet)
        with bar as progress, ThreadPoolExecutor(1, "keep") as writer:
            keep = functools.partial(_keep, [], progress)
            while True:
                try:
                    advanced = _advance([run for run in runs if run not in failures], epoch_of)
                finally:  # what was sent off before is kept, whatever becomes of this
                    failures |= keep()
                if not advanced:
                    break
                left = [(run, run.take(*after)) for run, after in advanced if run not in failures]
                keep = functools.partial(_keep, left, progress)
                if jax.process_count() == 1:
                    keep = writer.submit(keep).result
        outcomes = [failures.get(run) or run.trained() for run in runs]
    devices.wait_for_all(stage.name)  # what the first process keeps is written
    return outcomes


def _keep(left: Sequence[tuple["_Run", "_Outcome"]], progress: tqdm) -> dict["_Run", TrainingDiverged]:
    """Keep what epochs left of each run; return those that diverged. Any other fault is raised when all are kept."""
    failures, faults = {}, []
    for run, outcome in left:
        try:
            values = run.keep(outcome)
        except TrainingDiverged as error:
            failures[run] = error
        except Exception as error:
            faults.append(error)
        else:
            progress.set_postfix({name: f"{value:.4g}" for name, value in values.items()}, refresh=False)
            progress.update()
    if faults:
        raise faults[0]
    return failures


class _Outcome(NamedTuple):
    """What an epoch left, some of it still to come from the device."""

    epoch: int
    state: Any
    model: Any
    metrics: Mapping[str, jax.Array]
    validation: Later
    pictures: Later | None


class _Kept(NamedTuple):
    """What a checkpoint of an epoch will hold."""

    score: float
    epoch: int
    model: Any
    state: Any

    def rank(self) -> tuple[float, int]:
        """Return what decides which is the best: the latest of equals."""
        return self.score, self.epoch


class _Run:
    """A member on its way through a stage: its epoch, its state and what it leaves on disk."""

    def __init__(self, stage: Stage, member: Member):
        """Open the member's folder and take up its latest checkpoint."""
        self.stage, self.member = stage, replace(member, state=None)  # whose memory the device may need
        directory = member.workdir / stage.name
        about = {"stage": stage.name, **member.about, "made": provenance.here()}
        self.checkpoints = Checkpoints(directory / "checkpoints", about)
        self.epoch, self.state = self.checkpoints.resume(member.state)
        self.model_shape = jax.eval_shape(member.deploy, self.state)
        self.journal = Journal(directory, self.epoch)
        self.unsaved: list[_Kept] = []
        self.best = (-math.inf, 0)  # rank of what this process has saved
        self.saved_at = time.monotonic()
        self.writing = threading.Lock()  # of whoever keeps an epoch or closes, should an interrupt make both happen
        if member.start_counts and not saved_epochs(directory / "checkpoints"):
            self.keep(self._judged(0, {}))
            self.save()

    def data(self) -> Any:
        """Return the data of the epoch that comes next."""
        data = self.member.data
        return data.of_epoch(self.epoch) if isinstance(data, Changing) else data

    def take(self, state: Any, metrics: Mapping[str, jax.Array]) -> _Outcome:
        """Go on to the state after one more epoch, and send off what judges it."""
        self.epoch, self.state = self.epoch + 1, state
        return self._judged(self.epoch, metrics)

    def _judged(self, epoch: int, metrics: Mapping[str, jax.Array]) -> _Outcome:
        model = self.member.deploy(self.state)
        drawn = epoch and (epoch in (1, self.stage.epochs) or epoch % PICTURES_EVERY == 0)
        pictures = self.member.pictures(model) if drawn else None
        return _Outcome(epoch, self.state, model, metrics, self.member.validate(model), pictures)

    def keep(self, outcome: _Outcome) -> dict[str, float]:
        """Wait for what an epoch left, write it down, and save it if it is time; return all its scalars.

        Raises `TrainingDiverged`, and writes nothing, if its losses are not finite.
        """
        with self.writing:
            return self._write_down(outcome)

    def _write_down(self, outcome: _Outcome) -> dict[str, float]:
        losses = _finite(self.stage.name, outcome.epoch, jax.device_get(outcome.metrics), self.member.workdir)
        values = {**losses, **outcome.validation()}
        self.journal.scalars(outcome.epoch, values)
        if outcome.pictures is not None:
            self.journal.pictures(outcome.epoch, outcome.pictures())
        kept = _Kept(values.get("score", float(outcome.epoch)), outcome.epoch, outcome.model, outcome.state)
        self.unsaved = [*self._contender(kept), kept]
        together = jax.process_count() > 1  # processes save together, and their clocks differ
        if together or kept.epoch == self.stage.epochs or time.monotonic() > self.saved_at + CHECKPOINT_EVERY:
            self.save()
        return values

    def _contender(self, latest: _Kept) -> list[_Kept]:
        """Return the best of what is not saved yet where it is better than the latest; it leaves the device."""
        if not self.unsaved:
            return []
        best = max(self.unsaved, key=_Kept.rank)
        if best.rank() < max(latest.rank(), self.best):
            return []
        on_device = best is self.unsaved[-1]
        return [best._replace(model=to_host(best.model), state=to_host(best.state)) if on_device else best]

    def save(self) -> None:
        """Write checkpoints of the latest epoch, and of a better one since the last."""
        unsaved, self.unsaved = self.unsaved, []
        for kept in unsaved:
            self.checkpoints.save(kept.epoch, kept.model, kept.state, kept.score)
            self.best = max(self.best, kept.rank())
        self.saved_at = time.monotonic()

    def trained(self) -> Trained:
        """Return the outcome."""
        return Trained(*self.checkpoints.best(self.model_shape), self.state)

    def close(self) -> None:
        """Save what is not yet saved, and wait until everything is on disk."""
        if isinstance(self.member.data, Changing):
            self.member.data.close()
        with self.writing:
            self.journal.close()
            try:
                self.save()
            finally:
                self.checkpoints.close()


def _advance(runs: Sequence[_Run], epoch_of: Callable[[int], devices.Epoch]) -> list[tuple[_Run, tuple[Any, Any]]]:
    """Send off the next epoch of those runs that are furthest behind, if any has one left: its state and metrics."""
    behind = [run for run in runs if run.epoch < run.stage.epochs]
    group = [run for run in behind if run.epoch == min(run.epoch for run in behind)]
    if not group:
        return []
    advanced = epoch_of(len(group))([run.state for run in group], [run.data() for run in group])
    return list(zip(group, advanced, strict=True))


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
