"""The method's iteration for several members at once, for each of them: `python -m benchmarks.members`.

The peer is one member by itself. On a CPU members train one after another, since that is faster there; what this
measures is what advancing together would give.
"""

import dataclasses

from absl import app, flags

from benchmarks import measure
from benchmarks.transfer_case import TransferCase

MEMBERS = flags.DEFINE_list("members", ["5", "20"], "How many members.")
DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    number = measure.STEPS.value
    case = TransferCase("default", DIVIDED.value, measure.SIZE.value, measure.BATCH.value)
    for members in map(int, MEMBERS.value):
        times = measure.race({"ours": case.ours(number, members), "one member": case.ours(number)})
        times["ours"] /= members
        measure.report("members", dataclasses.asdict(case) | {"members": members}, times, number)


if __name__ == "__main__":
    app.run(main)
