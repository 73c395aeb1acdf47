"""PyTorch's training in a process without JAX: timed from outside, or its peak memory. Weights are PyTorch's own."""

import json

import torch

from benchmarks import processes
from benchmarks.peers import training
from benchmarks.peers.segmentation import Segmentation
from benchmarks.peers.transfer import Transfer

TRAININGS = {"segmentation step": Segmentation, "transfer iteration": Transfer}
PROGRAM = "import sys; from benchmarks.peers import alone; getattr(alone, sys.argv[1])(*sys.argv[2:])"


def prepared(backend: str, name: str, benchmark: str, settings: str, size: str, number: str) -> training.Call:
    """Return a call that takes `number` steps, in the mode of this name."""
    mode = {mode.name: mode for mode in training.modes(backend)}[name]
    peer = TRAININGS[benchmark](**json.loads(settings))
    return peer.call(mode, mode.place(peer.networks()), peer.data(int(size)), int(number))


def serve(*words: str) -> None:
    """Take the call as often as standard input asks for it."""
    processes.serve(lambda: prepared(*words))


def peak(backend: str, *words: str) -> None:
    """Take the call and print the process's peak, in MiB; on a GPU without what the choice of convolutions took."""
    call = prepared(backend, *words)
    call()
    if training.device(backend) == "cpu":
        print(processes.peak())
    else:
        torch.cuda.reset_peak_memory_stats()
        call()
        print(torch.cuda.max_memory_allocated() / 2**20)
