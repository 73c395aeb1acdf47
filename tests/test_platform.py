"""XLA's CPU settings: set where they are known to work, and never in place of a choice that was made."""

import importlib.metadata
import os

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
