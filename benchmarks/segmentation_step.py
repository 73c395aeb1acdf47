"""One training step of each segmenter against PyTorch's: `python -m benchmarks.segmentation_step`."""

import jax
from absl import app

from benchmarks import measure, networks
from benchmarks.peers import training


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number = measure.STEPS.value
    for case in networks.segmenters():
        with measure.told_if_too_large(case):
            peers = {mode.name: case.peer(mode, number) for mode in training.modes(jax.default_backend())}
            times = measure.race({"ours": case.program().repeated(number), **peers})
            measure.report("segmentation step", case, times, number)


if __name__ == "__main__":
    app.run(main)
