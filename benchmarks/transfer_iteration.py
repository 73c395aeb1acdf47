"""One iteration of the method with MUNIT against PyTorch's: `python -m benchmarks.transfer_iteration`."""

from absl import app, flags

from benchmarks import measure
from benchmarks.peers import training
from benchmarks.transfer_case import SIZES, TransferCase

NETWORKS = flags.DEFINE_list("networks", list(SIZES), "Which sizes of MUNIT: the paper's authors' or its own.")
DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number = measure.STEPS.value
    for sizes in NETWORKS.value:
        case = TransferCase(sizes, DIVIDED.value, measure.SIZE.value, measure.BATCH.value, measure.PRECISION.value)
        peers = {mode.name: case.peer(mode, number) for mode in training.modes()}
        times = measure.race({"ours": case.ours(number), **peers})
        measure.report("transfer iteration", case, times, number)


if __name__ == "__main__":
    app.run(main)
