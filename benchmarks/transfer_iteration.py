"""One iteration of the method with MUNIT against PyTorch's: `python -m benchmarks.transfer_iteration`."""

from absl import app

from benchmarks import measure, networks, turns


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    for case in networks.transfers():
        with measure.told_if_too_large(case):
            turns.race("transfer iteration", case)


if __name__ == "__main__":
    app.run(main)
