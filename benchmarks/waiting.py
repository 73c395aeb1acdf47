"""How long the device waits for the host while a stage trains: `python -m benchmarks.waiting`.

Two stages on phantoms, M_A's pre-training and the transfer, are profiled for three epochs, with all that a training
does between them: validation, log, the pictures of the tenth, and the checkpoints that fall into them. The device waits
where no program runs on it.
"""

import importlib.metadata
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from absl import app, flags, logging

from benchmarks import measure, networks
from configs import transfer
from cxr_jax import config, experiment, journal, plans, platform

EPOCHS = 14  # of a stage
FIRST, LAST = 8, 11  # epochs at whose ends profiling starts and stops
GOAL = 2.0  # percent
COMMAND_BUFFERS = "--xla_enable_command_buffers_during_profiling"
RELEASES = ("0.10.",)  # of jaxlib, in which that flag has been seen
RUN = "run_id"  # what events of a CPU's programs tell
COPIES = ("MemcpyH2D", "MemcpyD2H")

STAGES = flags.DEFINE_multi_enum("stage", ["pretraining", "transfer"], ["pretraining", "transfer"], "Which stages.")
FOLDER = flags.DEFINE_string("folder", None, "Where the phantoms are, or will be; by default TFDS's own folder.")


def keep_command_buffers() -> None:
    """Have XLA use a GPU's command buffers while it profiles, as it does in training.

    XLA aborts the process on a flag that it does not know, so the flag is set for `RELEASES` alone; it has no effect on
    a CPU. It must be set before JAX starts its backend.
    """
    before = os.environ.get("XLA_FLAGS", "")
    if importlib.metadata.version("jaxlib").startswith(RELEASES) and COMMAND_BUFFERS not in before:
        os.environ["XLA_FLAGS"] = f"{before} {COMMAND_BUFFERS}=true".strip()


def plan() -> plans.Experiment:
    """Return `configs/transfer.py:augmented` on phantoms, as large as the flags say, and short."""
    plain = transfer.get_config("augmented")
    plain.update(
        source="phantom/a", target="phantom/b", image_size=measure.SIZE.value, precision=networks.PRECISION.value
    )
    for section in (plain.segmenter, plain.munit, plain.discriminator):
        section.width //= networks.DIVIDED.value
    for section in (plain.pretraining, plain.transfer):
        section.update(epochs=EPOCHS, batch_size=measure.BATCH.value)
    plain.transfer.warmup_epochs = 1
    plain.transfer.convergence.restarts = 0
    plain.self_training.epochs = 0
    if "transfer" not in STAGES.value:
        plain.method = "segmentation"
    return config.parse(plain)


def profile(log: Path, folder: Path) -> None:
    """Profile into `folder` what a stage does from one of its epochs to another, as its log tells."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # which would slow the host down
    start = partial(jax.profiler.start_trace, folder, profiler_options=options)
    for epoch, then in ((FIRST, start), (LAST, jax.profiler.stop_trace)):
        while len(journal.read(log)) < epoch:
            time.sleep(0.005)
        then()


def spans(profile: Path) -> list[list[tuple[float, float]]]:
    """Return start and end, in ns, of whatever each device computed.

    Of a GPU these are its kernels, on the lines of its streams; of a CPU, whose threads are the device, the parts of
    programs and their runs. Raises ValueError where nothing was computed, with what the profile tells instead.
    """
    planes = list(jax.profiler.ProfileData.from_file(str(profile)).planes)
    computed = _of_threads if jax.default_backend() == "cpu" else _of_streams
    found = [[(event.start_ns, event.start_ns + event.duration_ns) for event in computed(plane)] for plane in planes]
    if not any(found):
        lines = ", ".join(f"{plane.name}: {line.name}" for plane in planes for line in plane.lines) or "nothing"
        raise ValueError(f"{profile}: expected events of a device, found {lines}; take larger networks or images")
    return list(filter(None, found))


def _of_threads(plane: Any) -> Iterator[Any]:
    """Yield events of a CPU's programs, of a profile's plane."""
    for event in _events(plane, "/host:CPU", ""):
        if RUN in {name for name, _ in event.stats}:
            yield event


def _of_streams(plane: Any) -> Iterator[Any]:
    """Yield what a GPU's streams did, but for copies from and to the host.

    Kernels of command buffers need not name their program. Lines beside the streams are made of them, gaps included.
    """
    for event in _events(plane, "/device:GPU", "Stream"):
        if not event.name.startswith(COPIES):
            yield event


def _events(plane: Any, device: str, line: str) -> Iterator[Any]:
    """Yield events that take time, of a plane and of lines whose names begin so."""
    if plane.name.startswith(device):
        for one in plane.lines:
            if one.name.startswith(line):
                yield from (event for event in one.events if event.duration_ns)


def waiting(profile: Path) -> float:
    """Return the share of the time from the first to the last span, in percent, in which there was none.

    It is the mean over devices.
    """
    return statistics.mean(map(_share, spans(profile)))


def _share(spans: Sequence[tuple[float, float]]) -> float:
    gaps, ordered = 0.0, sorted(spans)
    first = end = ordered[0][0]
    for start, last in ordered:
        gaps += max(0.0, start - end)
        end = max(end, last)
    return 100 * gaps / (end - first)


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    logging.set_verbosity(logging.WARNING)
    keep_command_buffers()
    platform.keep_memory()
    if jax.default_backend() != "cpu" and COMMAND_BUFFERS not in os.environ.get("XLA_FLAGS", ""):
        logging.warning("profiled without command buffers: gaps that training does not have count as waiting")
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder) / "run"
        logs = {stage: (workdir / stage / journal.SCALARS, Path(folder) / stage) for stage in STAGES.value}
        watches = [threading.Thread(target=profile, args=places, daemon=True) for places in logs.values()]
        for watch in watches:
            watch.start()
        experiment.train(plan(), workdir, FOLDER.value, None)
        for watch in watches:
            watch.join()
        for stage in STAGES.value:
            (found,) = (Path(folder) / stage).rglob("*.xplane.pb")
            case = {"stage": stage, "divided": networks.DIVIDED.value, "size": measure.SIZE.value}
            case |= {"batch": measure.BATCH.value, "precision": networks.PRECISION.value}
            values = {"ours": max(waiting(found), 0.01), "the goal": GOAL}
            measure.report("share of time in which the device waits", case, values, unit="percent")


if __name__ == "__main__":
    app.run(main)
