"""One training step of each segmenter against PyTorch's: `python -m benchmarks.segmentation_step`."""

from absl import app, flags

from benchmarks import measure
from benchmarks.peers import training
from benchmarks.segmentation_case import SegmentationCase

WIDTHS = {"unet": 64, "fcn": 64, "segnet": 64, "invertednet": 256, "scan": 8}  # the papers'

SEGMENTERS = flags.DEFINE_list("segmenters", list(WIDTHS), "Which segmenters.")
DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number = measure.STEPS.value
    for name in SEGMENTERS.value:
        width = WIDTHS[name] // DIVIDED.value
        case = SegmentationCase(name, width, measure.SIZE.value, measure.BATCH.value, measure.PRECISION.value)
        peers = {mode.name: case.peer(mode, number) for mode in training.modes()}
        times = measure.race({"ours": case.ours(number), **peers})
        measure.report("segmentation step", case, times, number)


if __name__ == "__main__":
    app.run(main)
