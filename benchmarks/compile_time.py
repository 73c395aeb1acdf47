"""Time to the end of the first iteration in a new process, cold and with the compilation cache.

`python -m benchmarks.compile_time`. Ours is with the cache that main.py uses, the peer the same without.
"""

import dataclasses
import json
import statistics
import tempfile
import time

from absl import app

from benchmarks import measure, networks, processes

PROGRAM = """
import json, sys
import jax
from benchmarks.transfer_case import TransferCase
from cxr_jax import platform
platform.keep_memory()
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
TransferCase(**json.loads(sys.argv[2])).program().repeated(1)()
"""


def main(_: list[str]) -> None:
    """Measure each start once in each round, every cold one with a new, empty cache."""
    case = dataclasses.asdict(networks.transfer())
    times = {"cold": [], "ours": []}
    for _ in range(measure.ROUNDS.value):
        with tempfile.TemporaryDirectory() as cache:
            for values in times.values():
                start = time.perf_counter()
                processes.run(PROGRAM, cache, json.dumps(case))
                values.append(1000 * (time.perf_counter() - start))
    shape = {name: value for name, value in case.items() if name != "sizes"}
    medians = {name: statistics.median(values) for name, values in times.items()}
    measure.report("first iteration of a process", shape, medians)


if __name__ == "__main__":
    app.run(main)
