"""Checks every shape annotation of the package while the tests run."""

from jaxtyping import install_import_hook

install_import_hook("cxr_jax", "beartype.beartype")
