"""Peak memory of PyTorch's training, in a process without JAX."""

import json

import torch

from benchmarks import processes
from benchmarks.peers import training
from benchmarks.peers.segmentation import Segmentation
from benchmarks.peers.transfer import Transfer

TRAININGS = {"segmentation step": Segmentation, "transfer iteration": Transfer}
PROGRAM = "import sys; from benchmarks.peers import memory; memory.alone(*sys.argv[1:])"


def alone(backend: str, name: str, benchmark: str, settings: str, size: str) -> None:
    """Take two steps in this process, in the mode of this name, and print its peak, in MiB.

    The weights are PyTorch's own: only their shapes matter. On a GPU what the choice of convolutions took is left out.
    """
    mode = {mode.name: mode for mode in training.modes(backend)}[name]
    peer = TRAININGS[benchmark](**json.loads(settings))
    call = peer.call(mode, mode.place(peer.networks()), peer.data(int(size)), 2)
    call()
    if mode.device == "cpu":
        print(processes.peak())
    else:
        torch.cuda.reset_peak_memory_stats()
        call()
        print(torch.cuda.max_memory_allocated() / 2**20)
