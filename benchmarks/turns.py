"""Our training steps and PyTorch's in turns, each in a process of its own, as who uses them has them."""

import dataclasses
import json
from contextlib import ExitStack

import jax

from benchmarks import alone, measure
from benchmarks.peers import alone as peers
from benchmarks.peers import training
from benchmarks.processes import Contestant
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase


def race(benchmark: str, case: SegmentationCase | TransferCase) -> None:
    """Report the time of a step, ours and each peer's, once the eager peer has been seen to compute the same."""
    backend, number = jax.default_backend(), str(measure.STEPS.value)
    modes = training.modes(backend)
    case.check(modes[0])
    training.modes(backend)  # once more, as it gives back what the check has left
    settings = json.dumps(dataclasses.asdict(case.settings))
    words = {"ours": (alone.PROGRAM, "serve", benchmark, json.dumps(dataclasses.asdict(case)), number)}
    for mode in modes:
        words[mode.name] = peers.PROGRAM, "serve", backend, mode.name, benchmark, settings, str(case.size), number
    with ExitStack() as stack:
        contestants = {name: stack.enter_context(Contestant(*its)) for name, its in words.items()}
        times = measure.race(contestants)
    measure.report(benchmark, case, times, int(number))
