"""Shape annotations are checked while the tests run; compiled programs are shared between them."""

import tempfile
from pathlib import Path
from typing import Any

import jax
import pytest
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401, named below

install_import_hook(["cxr_jax", "tfds_builders"], "tests.typecheck.check")
from cxr_jax import experiment, training  # noqa: E402, checked from here on
from tests import tiny  # noqa: E402

if jax.config.jax_compilation_cache_dir is None:
    jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp(prefix="cxr_jax_tests_"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


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
