"""The method's iteration for several members at once, for each of them: `python -m benchmarks.members`.

The peer is one member by itself. On a CPU members train one after another, since that is faster there; what this
measures is what advancing together would give. Of numbers of members that a GPU's memory does not hold it says so.
"""

import dataclasses

import jax
from absl import app, flags

from benchmarks import measure, networks
from benchmarks.transfer_case import TransferCase

MEMBERS = flags.DEFINE_list("members", ["5", "20"], "How many members.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    size, batch = measure.SIZE.value, measure.BATCH.value
    case = TransferCase("default", networks.DIVIDED.value, size, batch, networks.PRECISION.value)
    for members in map(int, MEMBERS.value):
        try:
            measured(case, members)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            print(f"members {members}: they do not fit into the memory of {measure.device()}")


def measured(case: TransferCase, members: int) -> None:
    """Report the time of as many members together, for each, and of one."""
    number = measure.STEPS.value
    times = measure.race({"ours": case.ours(number, members), "one member": case.ours(number)})
    times["ours"] /= members
    measure.report("members", dataclasses.asdict(case) | {"members": members}, times, number)


if __name__ == "__main__":
    app.run(main)
