"""One training step of each segmenter against PyTorch's: `python -m benchmarks.segmentation_step`."""

from absl import app

from benchmarks import measure, networks, turns


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    for case in networks.segmenters():
        with measure.told_if_too_large(case):
            turns.race("segmentation step", case)


if __name__ == "__main__":
    app.run(main)
