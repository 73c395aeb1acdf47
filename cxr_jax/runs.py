"""Experiments in their folders: what each goes on from, and that no folder serves two."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # not on every system
    fcntl = None

from cxr_jax import config, devices, plans
from cxr_jax.datasets import Data
from cxr_jax.errors import UserError
from cxr_jax.files import read_json, write_json

LEARNED_FROM = "data.json"
LATER = ("adaptation", "self_training")  # sections of a config that concern no model others go on from


class WorkdirError(UserError):
    """A work directory that belongs to another config, or to other images."""


class Run(NamedTuple):
    """An experiment in its folder, and the runs whose M_A and warmed-up translator it goes on from: by default its own.

    Several runs may go on from one, which trains only as far as they need. A warmed-up translator serves every task.
    """

    experiment: plans.Experiment
    workdir: Path
    start: "Run | None" = None
    warm_start: "Run | None" = None  # by default the start

    @property
    def origin(self) -> "Run":
        """The run in whose folder M_A is."""
        return self.start or self

    @property
    def warm_origin(self) -> "Run":
        """The run in whose folder the warmed-up translator is."""
        return self.warm_start or self.origin

    @property
    def parts(self) -> tuple["Run", ...]:
        """All runs in whose folders something is trained for this one."""
        return self.warm_origin, self.origin, self

    @property
    def stages(self) -> dict[str, Path]:
        """The folders of the stages that lead to this run's outcome, by name; the last one's model is that."""
        shared = {"pretraining": self.origin.workdir, "warmup": self.warm_origin.workdir}
        return {name: shared.get(name, self.workdir) / name for name in self.experiment.stages}

    @property
    def outcome(self) -> Path:
        """The folder of the stage whose model is the experiment's outcome."""
        return list(self.stages.values())[-1]


def require_own(run: Run) -> None:
    """Raise `WorkdirError` if a folder of the run is that of another config, or is none and cannot be made."""
    for part in run.parts:
        _require_folder(part.workdir)
        stored, here = read_json(part.workdir / "config.json"), config.to_json(part.experiment)
        if stored is not None and part is not run:  # what others go on from says nothing of how they do
            stored, here = ({**each, **dict.fromkeys(LATER)} for each in (stored, here))
        found = [] if stored is None else config.differences(stored, here)
        if found:
            raise WorkdirError(
                f"{part.workdir} belongs to another config (there / here):\n  " + "\n  ".join(found) + "\n"
                "To go on with that run, give the options that it was begun with, which stand on the left (config.json "
                "there has all); to begin another, give another --workdir"
            )


def _require_folder(path: Path) -> None:
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if os.path.lexists(parent))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise WorkdirError(
            f"expected as --workdir a folder to write to, found {path}, which cannot be one "
            f"({there} is {'write-protected' if there.is_dir() else 'no folder'}): give another"
        )


def claim(run: Run, data: Data) -> None:
    """Make the run's folders its own, with what it learns from; raise `WorkdirError` where that has changed since."""
    for part in run.parts:
        part.workdir.mkdir(parents=True, exist_ok=True)
        if not (part.workdir / "config.json").exists():
            write_json(part.workdir / "config.json", config.to_json(part.experiment))
        learned = data.learned_from(part.experiment)
        if not learned or part.experiment.task != run.experiment.task:
            continue
        stored = read_json(part.workdir / LEARNED_FROM) or learned
        for side in learned:
            if stored.get(side) != learned[side]:
                raise WorkdirError(
                    f"{part.workdir} was begun with other images, masks or patients than config.{side} "
                    f"{getattr(part.experiment, side)!r} holds now; what it has learned from may be among today's test "
                    "images. Give this run another --workdir, or put back what was there"
                )
        write_json(part.workdir / LEARNED_FROM, learned)


@contextmanager
def held(runs: Sequence[Run]) -> Iterator[None]:
    """Keep other processes from working in the runs' folders; raise `WorkdirError` where one does so now.

    Of processes that train together, the first holds them. Where system or disk know no locks, nothing is held.
    """
    with ExitStack() as stack:
        for folder in {part.workdir for run in runs for part in run.parts} if devices.is_primary() else ():
            stack.enter_context(_held(folder))
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a folder by a lock on itself, which ends with the process at the latest and leaves no file."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(
            f"expected as --workdir a folder to write to, but {folder} cannot be made ({error.strerror}): give another"
        ) from error
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # of a disk that knows no locks
            _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WorkdirError(
            f"another process is at work in {folder}: wait until it has ended, or give another --workdir"
        ) from error
