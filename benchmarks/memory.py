"""Peak memory of training, ours and PyTorch's, each in a process of its own: `python -m benchmarks.memory`.

On a GPU what the framework had taken of the device's memory at most, but for what choosing convolutions takes; on a CPU
what the process had of the machine's, in which ours compiles its programs. Neither process holds the other framework.
"""

import dataclasses
import json
import tempfile

import jax
from absl import app

from benchmarks import measure, networks, processes
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase

CASES = {"segmentation step": SegmentationCase, "transfer iteration": TransferCase}
PROGRAM = "import sys; from benchmarks import memory; memory.alone(*sys.argv[1:])"


def main(_: list[str]) -> None:
    """Measure one segmentation step and one iteration of the method."""
    measured("segmentation step", networks.segmenter("unet"))
    measured("transfer iteration", networks.transfer())


def measured(benchmark: str, case: SegmentationCase | TransferCase) -> None:
    """Report the peak of two steps of a case, ours and each peer's, in MiB."""
    from benchmarks.peers import memory as peers
    from benchmarks.peers import training

    backend = jax.default_backend()
    values = {"ours": ours(backend, benchmark, json.dumps(dataclasses.asdict(case)))}
    settings = json.dumps(dataclasses.asdict(case.settings))
    for mode in training.modes(backend):
        words = backend, mode.name, benchmark, settings, str(case.size)
        values[mode.name] = float(processes.result(peers.PROGRAM, *words))
    measure.report(f"peak memory of a {benchmark}", case, values, unit="mib")


def ours(backend: str, benchmark: str, case: str) -> float:
    """Return our peak; on a GPU that of a second process, which finds on disk the programs that the first has made."""
    with tempfile.TemporaryDirectory() as cache:
        if backend != "cpu":
            processes.result(PROGRAM, benchmark, case, cache)
        return float(processes.result(PROGRAM, benchmark, case, cache))


def alone(benchmark: str, case: str, cache: str) -> None:
    """Take two of our steps in this process and print its peak, in MiB; a GPU's programs are kept in `cache`."""
    on_cpu = jax.default_backend() == "cpu"
    jax.config.update("jax_enable_compilation_cache", not on_cpu)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    CASES[benchmark](**json.loads(case)).program().repeated(2)()
    print(processes.peak() if on_cpu else jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20)


if __name__ == "__main__":
    app.run(main)
