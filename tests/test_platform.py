"""Settings for CPUs: made where they are known to work, and never in place of a choice that was made."""

import importlib.metadata
import os
import platform as machine
import resource
import subprocess
import sys

import pytest

from cxr_jax import platform

CHOSEN = "--xla_cpu_experimental_ynn_fusion_type=invalid"
OTHER = "--xla_force_host_platform_device_count=2"


@pytest.mark.parametrize(
    ("release", "before", "after"),
    [
        ("0.10.2", None, "--xla_cpu_experimental_ynn_fusion_type=individual_dot"),
        ("0.10.0", OTHER, f"{OTHER} --xla_cpu_experimental_ynn_fusion_type=individual_dot"),
        ("0.10.2", CHOSEN, CHOSEN),
        ("0.9.2", OTHER, OTHER),
        ("0.11.0", OTHER, OTHER),  # one that has not been tried: XLA would abort if it had dropped the flag
        ("0.11.0.dev20261101", None, None),
    ],
)
def test_the_flag_is_set_for_releases_that_know_it(monkeypatch, release, before, after):
    monkeypatch.setattr(importlib.metadata, "version", {"jaxlib": release}.__getitem__)
    monkeypatch.setenv("XLA_FLAGS", before or "")
    if before is None:
        monkeypatch.delenv("XLA_FLAGS")
    platform.tune_cpu()
    assert os.environ.get("XLA_FLAGS") == after


@pytest.mark.parametrize(("chosen", "expected"), [(None, False), ("1", True)])
def test_training_has_programs_run_where_they_are_called_unless_chosen_otherwise(chosen, expected):
    name = "jax_cpu_enable_async_dispatch"
    environment = {key: value for key, value in os.environ.items() if key != name.upper()}
    environment |= {} if chosen is None else {name.upper(): chosen}
    program = f"import jax; from cxr_jax import platform; platform.keep_memory(); print(jax.config.read({name!r}))"
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == str(expected)


@pytest.mark.skipif(machine.libc_ver()[0] != "glibc", reason="memory is kept by glibc")
@pytest.mark.parametrize(("tunables", "kept"), [("", True), ("glibc.malloc.mmap_max=65536", False)])
def test_a_programs_memory_is_kept_for_the_next(tunables, kept):
    program = """
import resource

import jax, jax.numpy as jnp

from cxr_jax import platform

platform.keep_memory()
step = jax.jit(lambda x: (jax.lax.optimization_barrier(x + 1) * x).sum())  # with 64 MiB of temporary memory
x = jnp.ones((4096, 4096))
counts = []
for _ in range(8):
    step(x).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(min(after - before for before, after in zip(counts, counts[1:])))  # a heap takes some steps to find its size
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "GLIBC_TUNABLES": tunables}
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    pages = 4096 * 4096 * 4 / resource.getpagesize()
    assert (float(told.stdout) < pages / 10) == kept


def test_an_epoch_begins_when_its_state_and_data_are_there():
    program = """
import jax, jax.numpy as jnp

from cxr_jax import platform

ready = []


def iteration(state, data):
    ready.append(state.is_ready() and data.is_ready())
    return state, {"loss": jnp.zeros(())}


product = jax.jit(lambda matrix: jax.lax.fori_loop(0, 50, lambda _, square: square @ matrix, matrix))
late = [product(jnp.eye(1000)) for _ in range(2)]
assert not late[1].is_ready()
platform.epoch_runner(iteration, 2)(*late)
print(ready)
"""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_CPU_ENABLE_ASYNC_DISPATCH": "1"}
    told = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[True, True]"
