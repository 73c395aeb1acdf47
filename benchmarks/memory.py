"""Peak memory of training, ours and PyTorch's, each in a process of its own: `python -m benchmarks.memory`.

On a GPU what the framework had taken of the device's memory at most; on a CPU what the process had of the machine's.
Neither process holds the other framework, and ours compiles its programs, whether or not a cache has them.
"""

import dataclasses
import json

import jax
from absl import app, flags

from benchmarks import measure, networks, processes
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase

WIDTH = flags.DEFINE_integer("width", 64, "Channels of the U-Net's first stage.")
CASES = {"segmentation step": SegmentationCase, "transfer iteration": TransferCase}
PROGRAM = "import sys; from benchmarks import memory; memory.alone(*sys.argv[1:])"


def main(_: list[str]) -> None:
    """Measure one segmentation step and one iteration of the method."""
    size, batch, precision = measure.SIZE.value, measure.BATCH.value, networks.PRECISION.value
    measured("segmentation step", SegmentationCase("unet", WIDTH.value, size, batch, precision))
    measured("transfer iteration", TransferCase("default", networks.DIVIDED.value, size, batch, precision))


def measured(benchmark: str, case: SegmentationCase | TransferCase) -> None:
    """Report the peak of two steps of a case, ours and each peer's, in MiB."""
    from benchmarks.peers import memory as peers
    from benchmarks.peers import training

    backend = jax.default_backend()
    values = {"ours": float(processes.result(PROGRAM, benchmark, json.dumps(dataclasses.asdict(case))))}
    settings = json.dumps(dataclasses.asdict(case.settings))
    for mode in training.modes(backend):
        words = backend, mode.name, benchmark, settings, str(case.size)
        values[mode.name] = float(processes.result(peers.PROGRAM, *words))
    measure.report(f"peak memory of a {benchmark}", case, values, unit="mib")


def alone(benchmark: str, case: str) -> None:
    """Take two of our steps in this process and print its peak, in MiB."""
    jax.config.update("jax_enable_compilation_cache", False)
    CASES[benchmark](**json.loads(case)).ours(2)()
    on_cpu = jax.default_backend() == "cpu"
    print(processes.peak() if on_cpu else jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20)


if __name__ == "__main__":
    app.run(main)
