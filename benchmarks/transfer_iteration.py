"""One iteration of the method with MUNIT against PyTorch's: `python -m benchmarks.transfer_iteration`."""

import jax
from absl import app

from benchmarks import measure, networks
from benchmarks.peers import training


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number = measure.STEPS.value
    for case in networks.transfers():
        with measure.told_if_too_large(case):
            peers = {mode.name: case.peer(mode, number) for mode in training.modes(jax.default_backend())}
            times = measure.race({"ours": case.program().repeated(number), **peers})
            measure.report("transfer iteration", case, times, number)


if __name__ == "__main__":
    app.run(main)
