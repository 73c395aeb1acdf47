"""One training step of each segmenter against PyTorch's: `python -m benchmarks.segmentation_step`."""

import jax
from absl import app, flags

from benchmarks import measure, networks
from benchmarks.peers import training
from benchmarks.segmentation_case import SegmentationCase

WIDTHS = {"unet": 64, "fcn": 64, "segnet": 64, "invertednet": 256, "scan": 8}  # the papers'

SEGMENTERS = flags.DEFINE_list("segmenters", list(WIDTHS), "Which segmenters.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number, size, batch = measure.STEPS.value, measure.SIZE.value, measure.BATCH.value
    for name in SEGMENTERS.value:
        width = WIDTHS[name] // networks.DIVIDED.value
        case = SegmentationCase(name, width, size, batch, networks.PRECISION.value)
        peers = {mode.name: case.peer(mode, number) for mode in training.modes(jax.default_backend())}
        times = measure.race({"ours": case.ours(number), **peers})
        measure.report("segmentation step", case, times, number)


if __name__ == "__main__":
    app.run(main)
