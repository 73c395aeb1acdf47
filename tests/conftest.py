"""Shape annotations are checked while the tests run; compiled programs are shared between them."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # of the process that starts others, which inherit it
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="cxr_jax_tests_")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

if "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):  # most programs here run but once
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401, named below

install_import_hook(["cxr_jax", "tfds_builders"], "tests.typecheck.check")
from cxr_jax import experiment, training  # noqa: E402, checked from here on
from tests import tiny  # noqa: E402

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)

LONGEST = ("test_experiment", "test_steps", "test_table2", "test_streaming", "test_shipping")  # begun first


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, lest one of them is left to a single worker at the end.

    Those come later whose programs others have compiled by then.
    """
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory) -> str:
    """Return a folder for prepared datasets, shared by all tests."""
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tfds_dir) -> tuple[Path, dict[str, Any]]:
    """Return work directory and results of an uninterrupted run, which has saved each epoch."""
    workdir = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "CHECKPOINT_EVERY", 0.0)
        return workdir, experiment.train(tiny.experiment(), workdir, tfds_dir, None)
