"""How long the device waits for the host while a stage trains: `python -m benchmarks.waiting`.

Two stages on phantoms, M_A's pre-training and the transfer, are profiled for three epochs, with all that a training
does between them: validation, log, the pictures of the tenth, and the checkpoints that fall into them. The device waits
where no program runs on it.
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import jax
from absl import app, flags, logging

from benchmarks import measure
from configs import transfer
from cxr_jax import config, experiment, journal, plans

EPOCHS = 14  # of a stage
FIRST, LAST = 8, 11  # epochs at whose ends profiling starts and stops
GOAL = 2.0  # percent

STAGES = flags.DEFINE_multi_enum("stage", ["pretraining", "transfer"], ["pretraining", "transfer"], "Which stages.")
DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")
FOLDER = flags.DEFINE_string("folder", None, "Where the phantoms are, or will be; by default TFDS's own folder.")


def plan() -> plans.Experiment:
    """Return `configs/transfer.py:augmented` on phantoms, as large as the flags say, and short."""
    plain = transfer.get_config("augmented")
    plain.update(
        source="phantom/a", target="phantom/b", image_size=measure.SIZE.value, precision=measure.PRECISION.value
    )
    for section in (plain.segmenter, plain.munit, plain.discriminator):
        section.width //= DIVIDED.value
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

    Of a GPU these are its kernels; of a CPU, whose threads are the device, the parts of programs and their runs.
    """
    planes = jax.profiler.ProfileData.from_file(str(profile)).planes
    device, mark = ("/host:CPU", "run_id") if jax.default_backend() == "cpu" else ("/device:", "hlo_module")
    found = []
    for plane in planes:
        if plane.name.startswith(device):
            events = (event for line in plane.lines for event in line.events if event.duration_ns)
            marked = [event for event in events if any(name == mark for name, _ in event.stats)]
            found.append([(event.start_ns, event.start_ns + event.duration_ns) for event in marked])
    return list(filter(None, found))


def waiting(profile: Path) -> float:
    """Return the share of the time from the first to the last span, in percent, in which there was none.

    It is the mean over devices. Raises ValueError where nothing was profiled.
    """
    shares = list(map(_share, spans(profile)))
    if not shares:
        raise ValueError(f"{profile} holds nothing of a device: expected three epochs; take larger networks or images")
    return statistics.mean(shares)


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
            case = {"stage": stage, "divided": DIVIDED.value, "size": measure.SIZE.value, "batch": measure.BATCH.value}
            case["precision"] = measure.PRECISION.value
            values = {"ours": max(waiting(found), 0.01), "the goal": GOAL}
            measure.report("share of time in which the device waits", case, values, unit="percent")


if __name__ == "__main__":
    app.run(main)
