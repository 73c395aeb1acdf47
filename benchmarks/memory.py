"""Peak memory of training, ours and PyTorch's, each in a process of its own: `python -m benchmarks.memory`.

On a GPU what the framework had taken of the device's memory at most, but for what choosing convolutions takes; on a CPU
what the process had of the machine's, in which ours compiles its programs. Neither process holds the other framework.
"""

import dataclasses
import json
import tempfile

import jax
from absl import app

from benchmarks import alone, measure, networks, processes
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase

STEPS = "2"  # in a process


def main(_: list[str]) -> None:
    """Measure one segmentation step and one iteration of the method."""
    measured("segmentation step", networks.segmenter("unet"))
    measured("transfer iteration", networks.transfer())


def measured(benchmark: str, case: SegmentationCase | TransferCase) -> None:
    """Report the peak of two steps of a case, ours and each peer's, in MiB."""
    from benchmarks.peers import alone as peers
    from benchmarks.peers import training

    backend = jax.default_backend()
    values = {"ours": ours(backend, benchmark, json.dumps(dataclasses.asdict(case)))}
    settings = json.dumps(dataclasses.asdict(case.settings))
    for mode in training.modes(backend):
        words = "peak", backend, mode.name, benchmark, settings, str(case.size), STEPS
        values[mode.name] = float(processes.result(peers.PROGRAM, *words))
    measure.report(f"peak memory of a {benchmark}", case, values, unit="mib")


def ours(backend: str, benchmark: str, case: str) -> float:
    """Return our peak; on a GPU that of a second process, which finds on disk the programs that the first has made."""
    with tempfile.TemporaryDirectory() as cache:
        words = alone.PROGRAM, "peak", cache, benchmark, case, STEPS
        if backend != "cpu":
            processes.result(*words)
        return float(processes.result(*words))


if __name__ == "__main__":
    app.run(main)
