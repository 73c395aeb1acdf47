"""How far training steps are from what the chip allows: `python -m benchmarks.roofline`.

A step computes and moves data, and can be no quicker than either alone (the roofline model, Williams et al., 2009).
What it has to compute and to move is counted by XLA; how quickly the chip does so is measured in the same run, by a
product of large matrices in the step's precision, and by adding one to an array that no cache holds. The peer is the
step if it did one of the two alone, so that a ratio is the share of the chip's speed, and the larger of both tells what
limits it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from absl import app

from benchmarks import measure, networks
from benchmarks.programs import Call
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase
from cxr_jax import platform

BENCHMARK = "roofline"
SIDE = {"cpu": 2048, "other": 8192}  # of the matrices
FLOATS = {"cpu": 2**26, "other": 2**28}  # of the array


@dataclass(frozen=True)
class Chip:
    """What the chip was seen to do: floating-point operations and bytes, in a second."""

    flops: float
    bytes: float


def main(_: list[str]) -> None:
    """Measure the chip, then what the flags say."""
    platform.keep_memory()
    chip = measured()
    for case in cases():
        with measure.told_if_too_large(case):
            against(chip, case)


def cases() -> Iterator[SegmentationCase | TransferCase]:
    """Yield a step of each segmenter and an iteration of the method, as the flags say."""
    yield from networks.segmenters()
    yield from networks.transfers()


def against(chip: Chip, case: SegmentationCase | TransferCase) -> None:
    """Report the time of a step of ours beside those of its operations and its bytes at the chip's speed."""
    number, program = measure.STEPS.value, case.program()
    cost = program.cost()
    times = measure.race({"ours": program.repeated(number)})
    alone = {"its arithmetic alone": cost.flops / chip.flops, "its memory traffic alone": cost.bytes / chip.bytes}
    times |= {name: 1000 * number * seconds for name, seconds in alone.items()}
    counted = {"flops": cost.flops, "bytes": cost.bytes, "chip_flops": chip.flops, "chip_bytes": chip.bytes}
    measure.report(BENCHMARK, case, times, number, more=counted)


def measured() -> Chip:
    """Return what the chip does in the precision that the flags say; in fp32 a GPU rounds products to TF32."""
    backend = jax.default_backend() if jax.default_backend() in SIDE else "other"
    side, floats, number = SIDE[backend], FLOATS[backend], measure.STEPS.value
    matrix = jnp.ones((side, side), networks.PRECISION.value)
    array = jnp.ones(floats, jnp.float32)
    moved = 2 * array.nbytes  # read and written
    times = measure.race(
        {
            "product": _chained(jax.jit(lambda x: x @ x / side), matrix, number),
            "copy": _chained(jax.jit(lambda x: x + 1, donate_argnums=0), array, number),  # in place, in memory it has
        }
    )
    seconds = {name: time / 1000 / number for name, time in times.items()}
    return Chip(2 * side**3 / seconds["product"], moved / seconds["copy"])


def _chained(function: Callable[[jax.Array], jax.Array], start: jax.Array, number: int) -> Call:
    held = [start]

    def call() -> None:
        for _ in range(number):
            held[0] = function(held[0])
        held[0].block_until_ready()

    return call


if __name__ == "__main__":
    app.run(main)
