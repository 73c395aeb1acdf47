"""Time to the end of the first iteration in a new process, cold and with the compilation cache.

`python -m benchmarks.compile_time`. Ours is with the cache that main.py uses, the peer the same without.
"""

import subprocess
import sys
import tempfile
import time

from absl import app, flags

from benchmarks import measure

DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")
PROGRAM = """
import sys
import jax
from benchmarks.transfer_case import TransferCase
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
TransferCase("default", *map(int, sys.argv[2:])).ours(1)()
"""


def main(_: list[str]) -> None:
    """Measure each start once in each round, every cold one with a new, empty cache."""
    shape = {"divided": DIVIDED.value, "size": measure.SIZE.value, "batch": measure.BATCH.value}
    times = {"cold": [], "ours": []}
    for _ in range(measure.ROUNDS.value):
        with tempfile.TemporaryDirectory() as cache:
            for name in times:
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", PROGRAM, cache, *map(str, shape.values())], check=True)
                times[name].append(1000 * (time.perf_counter() - start))
    medians = {name: sorted(values)[len(values) // 2] for name, values in times.items()}
    measure.report("first iteration of a process", shape, medians)


if __name__ == "__main__":
    app.run(main)
