"""Timing ours and a peer in turns, and the rows that say what came out."""

import dataclasses
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from absl import flags

from cxr_jax import files, platform, provenance

IDENTITY = ("benchmark", "device", "shape", "peer")  # of a row
PACKAGES = ("jax", "jaxlib", "flax", "torch")
ALLOCATOR = "GLIBC_TUNABLES"  # the variable by which the C library is told how to keep memory

SIZE = flags.DEFINE_integer("size", 256, "Side of the images.")
BATCH = flags.DEFINE_integer("batch", 4, "Images a step.")
STEPS = flags.DEFINE_integer("steps", 10, "Steps that are timed together.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "How often each is timed.")
RESULTS = flags.DEFINE_string("results", "docs/results/benchmarks.json", "Where the rows go.")


def race(contestants: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median time of a call of each contestant, in ms.

    A call returns when its work is done. After one call of each to warm up they take turns, so that whatever else the
    machine does meets all alike.
    """
    for call in contestants.values():
        call()
    times = {name: [] for name in contestants}
    for _ in range(ROUNDS.value):
        for name, call in contestants.items():
            start = time.perf_counter()
            call()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


@contextmanager
def told_if_too_large(case: Any) -> Iterator[None]:
    """Say so, and go on, where a case does not fit into the device's memory, by JAX's word or PyTorch's."""
    try:
        yield
    except Exception as error:
        if not any(word in f"{type(error).__name__}: {error}" for word in ("RESOURCE_EXHAUSTED", "OutOfMemoryError")):
            raise
        print(f"{case}: does not fit into the memory of {device()}")


def report(
    benchmark: str,
    case: Any,
    values: Mapping[str, float],
    divisor: float = 1,
    unit: str = "ms",
    more: Mapping[str, float] | None = None,
) -> None:
    """Print a row for each peer, and put it into the results file in place of an older one of the same measurement.

    `case`, a dataclass or a mapping, is what was measured; `values` are those of `ours` and of each peer, the smaller
    the better, for `divisor` steps; `more` is added to the rows.
    """
    shape = dataclasses.asdict(case) if dataclasses.is_dataclass(case) else dict(case)
    path = Path(RESULTS.value)
    rows = files.read_json(path, [])
    kept = {_key(row): row for row in rows}
    about = {"device": device(), "command": command(), "commit": provenance.commit(), "versions": versions()}
    print(f"{benchmark}, {', '.join(f'{name} {value}' for name, value in shape.items())}; {about['device']}")
    for peer in values.keys() - {"ours"}:
        found = {
            f"ours_{unit}": values["ours"] / divisor,
            "peer": peer,
            f"peer_{unit}": values[peer] / divisor,
            **(more or {}),
        }
        row = {"benchmark": benchmark, "shape": shape, **found, "ratio": values[peer] / values["ours"], **about}
        kept[_key(row)] = row
        print(f"  ours {row[f'ours_{unit}']:.1f} {unit}, {peer} {row[f'peer_{unit}']:.1f} {unit}: {row['ratio']:.2f}")
    files.write_json(path, [kept[key] for key in sorted(kept)])


def device() -> str:
    """Return what the benchmark runs on, and whether the C library was told how to keep memory."""
    return ", ".join([platform.device_name(), *(["tuned memory"] if ALLOCATOR in os.environ else [])])


def command() -> str:
    """Return the command that runs, with the settings of the C library's memory if there are any."""
    tuned = f"{ALLOCATOR}={os.environ[ALLOCATOR]} " if ALLOCATOR in os.environ else ""
    return tuned + provenance.command()


def versions() -> dict[str, str]:
    """Return the versions of what is measured."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _key(row: Mapping[str, Any]) -> str:
    return json.dumps([row[field] for field in IDENTITY], sort_keys=True)
