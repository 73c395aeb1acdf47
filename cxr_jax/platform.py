"""What the machine underneath is, and decides: settings for CPUs and how an epoch of steps is run."""

import ctypes
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

_LIBRARY_FLAG = "--xla_cpu_experimental_ynn_fusion_type"
_LIBRARY_TAKES = "individual_dot"
_LIBRARY_RELEASES = ((0, 10),)  # of jaxlib, on which the flag has been seen to work
_VECTORS = ("avx512f", "avx2", "avx")  # widest first
_DISPATCH = "jax_cpu_enable_async_dispatch"
_KEPT = {-4: 0, -1: -1}  # glibc's M_MMAP_MAX: nothing beside the heap; M_TRIM_THRESHOLD: which never shrinks


def tune_cpu() -> None:
    """Have XLA's CPU backend leave matrix products to a library of kernels (YNNPACK), not convolutions.

    XLA aborts the process on a flag it does not know, so the flag is set for `_LIBRARY_RELEASES` alone. It has no
    effect on other backends, and a choice already made in `XLA_FLAGS` stands. It must run before JAX starts its
    backend, hence from the package's `__init__`.
    """
    release = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2])
    flags = os.environ.get("XLA_FLAGS", "")
    if release in _LIBRARY_RELEASES and _LIBRARY_FLAG not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {_LIBRARY_FLAG}={_LIBRARY_TAKES}".strip()


def keep_memory() -> None:
    """Have this process keep the memory that each step of a training on a CPU gives back, if the C library is glibc.

    XLA takes a program's temporary memory, often hundreds of MiB, anew at each execution, and glibc returns pieces of
    that size to the system at once: each step then pays for all of its pages again, up to a quarter of its time. Kept
    on the heap they are there already. The heap is the main thread's, so programs run in the thread that calls them,
    where JAX can (`epoch_runner`); JAX takes that setting before it starts its backend. All of it concerns the whole
    process: `--mode=train` and `evaluate` ask for it, the library does not. Choices made in
    `JAX_CPU_ENABLE_ASYNC_DISPATCH` and `GLIBC_TUNABLES` stand.
    """
    if _DISPATCH.upper() not in os.environ:
        jax.config.update(_DISPATCH, False)
    glibc = platform.libc_ver()[0] == "glibc"
    if glibc and jax.default_backend() == "cpu" and "glibc.malloc" not in os.environ.get("GLIBC_TUNABLES", ""):
        library = ctypes.CDLL(None)
        for setting, value in _KEPT.items():
            library.mallopt(setting, value)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that resuming and evaluating start at once.

    A folder chosen in `JAX_COMPILATION_CACHE_DIR` stands.
    """
    if jax.config.jax_compilation_cache_dir is None:
        jax.config.update("jax_compilation_cache_dir", str(Path.home() / ".cache" / "cxr_jax"))


def device_name() -> str:
    """Return what JAX computes on: of a CPU its make, widest vectors and cores, where Linux tells them."""
    count = jax.device_count()
    if jax.default_backend() != "cpu":
        return f"{jax.devices()[0].device_kind} x{count}"
    about = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    told = dict(re.findall(r"^(model name|flags)\s*: (.*)$", about, re.MULTILINE))
    vectors = [name for name in _VECTORS if name in told.get("flags", "").split()]
    parts = [told.get("model name", platform.machine()), *vectors[:1], f"{_cores()} cores"]
    return ", ".join([*parts, *([f"as {count} devices"] if count > 1 else [])])


def _cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def epoch_runner(iteration: Callable[[Any, Any], tuple[Any, Any]], steps: int) -> Callable[[Any, Any], tuple]:
    """Return `run(state, data) -> (state, mean metrics)`: `steps` iterations on the device.

    On an accelerator the epoch is one `lax.scan`. On a CPU, where convolutions inside a loop body take XLA's
    slow path, the steps are dispatched one by one, so the parts of `iteration` must be jitted. Metrics stay on
    the device.

    Where memory is kept (`keep_memory`), JAX runs a program in the calling thread only if its arguments are ready and
    no program is pending; one that is pending sends all after it to other threads. So an epoch on a CPU first waits for
    its state and data. (The state is a copy, made behind the programs that judge the epoch before.)
    """
    mean = jax.jit(lambda rows: jax.tree.map(lambda *values: jnp.mean(jnp.stack(values), axis=0), *rows))

    def dispatched(state: Any, data: Any) -> tuple[Any, Any]:
        rows = []
        jax.block_until_ready((state, data))
        for _ in range(steps):
            state, metrics = iteration(state, data)
            rows.append(metrics)
        return state, mean(rows)

    @partial(jax.jit, donate_argnums=0)
    def scanned(state: Any, data: Any) -> tuple[Any, Any]:
        state, rows = jax.lax.scan(lambda carry, _: iteration(carry, data), state, length=steps)
        return state, jax.tree.map(lambda values: values.mean(axis=0), rows)

    return dispatched if jax.default_backend() == "cpu" else scanned
