"""The method's iteration for several members at once, for each of them: `python -m benchmarks.members`.

The peer is one member by itself. On a CPU members train one after another, since that is faster there; what this
measures is what advancing together would give. Of numbers of members that a GPU's memory does not hold it says so.
"""

import dataclasses
import os

from absl import app, flags

from benchmarks import measure, networks
from benchmarks.programs import Call
from benchmarks.transfer_case import TransferCase
from cxr_jax import platform

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.95")  # there is no peer that needs some

MEMBERS = flags.DEFINE_list("members", ["5", "20"], "How many members.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    platform.keep_memory()
    case = networks.transfer()
    one = case.program().repeated(measure.STEPS.value)
    for members in map(int, MEMBERS.value):
        with measure.told_if_too_large(f"{members} members"):
            measured(case, members, one)


def measured(case: TransferCase, members: int, one: Call) -> None:
    """Report the time of as many members together, for each, and of one."""
    number = measure.STEPS.value
    times = measure.race({"ours": case.program(members).repeated(number), "one member": one})
    times["ours"] /= members
    measure.report("members", dataclasses.asdict(case) | {"members": members}, times, number)


if __name__ == "__main__":
    app.run(main)
