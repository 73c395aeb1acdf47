"""Our training in a process without PyTorch, as the commands run it: timed from outside, or its peak memory."""

import json

import jax

from benchmarks import processes
from benchmarks.programs import Call
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import TransferCase
from cxr_jax import platform

CASES = {"segmentation step": SegmentationCase, "transfer iteration": TransferCase}
PROGRAM = "import sys; from benchmarks import alone; getattr(alone, sys.argv[1])(*sys.argv[2:])"


def prepared(benchmark: str, case: str, number: str) -> Call:
    """Return a call that takes `number` steps of a case."""
    platform.keep_memory()
    return CASES[benchmark](**json.loads(case)).program().repeated(int(number))


def serve(*words: str) -> None:
    """Take the call as often as standard input asks for it."""
    processes.serve(lambda: prepared(*words))


def peak(cache: str, *words: str) -> None:
    """Take the call and print the process's peak, in MiB; a GPU's programs are kept in `cache`."""
    platform.keep_memory()
    on_cpu = jax.default_backend() == "cpu"
    jax.config.update("jax_enable_compilation_cache", not on_cpu)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    prepared(*words)()
    print(processes.peak() if on_cpu else jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20)
