"""One iteration of the method with MUNIT against PyTorch's: `python -m benchmarks.transfer_iteration`."""

import jax
from absl import app, flags

from benchmarks import measure, networks
from benchmarks.peers import training
from benchmarks.transfer_case import SIZES, TransferCase

NETWORKS = flags.DEFINE_list("networks", list(SIZES), "Which sizes of MUNIT: the paper's authors' or its own.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number, size, batch = measure.STEPS.value, measure.SIZE.value, measure.BATCH.value
    for sizes in NETWORKS.value:
        case = TransferCase(sizes, networks.DIVIDED.value, size, batch, networks.PRECISION.value)
        peers = {mode.name: case.peer(mode, number) for mode in training.modes(jax.default_backend())}
        times = measure.race({"ours": case.ours(number), **peers})
        measure.report("transfer iteration", case, times, number)


if __name__ == "__main__":
    app.run(main)
