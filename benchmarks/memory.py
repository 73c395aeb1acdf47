"""Peak memory of training, ours and PyTorch's, each in a process of its own: `python -m benchmarks.memory`.

On a GPU what the framework had taken of the device's memory at most; on a CPU what the process had of the machine's.
"""

import json
import resource
import subprocess
import sys

import jax
import torch
from absl import app, flags

from benchmarks import measure
from benchmarks.peers import training
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase

WIDTH = flags.DEFINE_integer("width", 64, "Channels of the U-Net's first stage.")
DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks in the method's iteration, for a CPU.")
CASES = {"segmentation step": SegmentationCase, "transfer iteration": TransferCase}
PROGRAM = "import sys; from benchmarks import memory; memory.alone(*sys.argv[1:])"


def main(_: list[str]) -> None:
    """Measure one segmentation step and one iteration of the method."""
    images = {"size": measure.SIZE.value, "batch": measure.BATCH.value}
    for benchmark, case in {
        "segmentation step": {"segmenter": "unet", "width": WIDTH.value, **images},
        "transfer iteration": {"sizes": "default", "divided": DIVIDED.value, **images},
    }.items():
        names = ["ours", *(mode.name for mode in training.modes())]
        values = {name: _measured(benchmark, case, name) for name in names}
        measure.report(f"peak memory of a {benchmark}", case, values, unit="mib")


def alone(benchmark: str, case: str, name: str) -> None:
    """Take two steps in this process and print its peak, in MiB."""
    case = CASES[benchmark](**json.loads(case))
    modes = {mode.name: mode for mode in training.modes()}
    call = case.ours(2) if name == "ours" else case.peer(modes[name], 2)
    call()
    print(_peak(name) / 2**20)


def _measured(benchmark: str, case: dict, name: str) -> float:
    words = [sys.executable, "-c", PROGRAM, benchmark, json.dumps(case), name]
    output = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    return float(output.split()[-1])


def _peak(name: str) -> float:
    if jax.default_backend() == "cpu":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "ours":
        return jax.devices()[0].memory_stats()["peak_bytes_in_use"]
    return torch.cuda.max_memory_allocated()


if __name__ == "__main__":
    app.run(main)
