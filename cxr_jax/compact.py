"""A model as one small file: its weights in bfloat16, deflated, with the config that they belong to.

That is how weights are shipped. The file is NumPy's npz, read without pickles, so that nothing in it is executed.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from cxr_jax import files
from cxr_jax.checkpoints import CheckpointError

SUFFIX = ".npz"
ABOUT = "about"

Tree = Any


def write(path: Path, model: Tree, about: Mapping[str, Any]) -> None:
    """Write a model; numbers of 32 bits are rounded to bfloat16, which has their range and 8 bits of precision."""
    arrays = {name: _packed(leaf) for name, leaf in _named(model).items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}, **arrays)
    files.write(path, buffer.getvalue())


def read_about(path: Path) -> dict[str, Any]:
    """Return what was written beside a model; raise `CheckpointError` where the file is none, or damaged."""
    return json.loads(_read(path)[ABOUT].tobytes())


def restore_model(path: Path, like: Tree) -> Tree:
    """Return a model; `like` gives structure, shapes and types (arrays or `jax.eval_shape`'s)."""
    arrays, shapes = _read(path), _named(like)
    found, expected = set(arrays) - {ABOUT}, set(shapes)
    if found != expected or any(arrays[name].shape != shapes[name].shape for name in shapes):
        raise CheckpointError(f"{path} holds a model of another architecture than its config says: it is damaged")
    leaves = [_unpacked(arrays[name], leaf.dtype) for name, leaf in shapes.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        expected = "expected a model as this project ships it"
        raise CheckpointError(f"{path} is missing or damaged ({error}); {expected}") from error


def _named(tree: Tree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _packed(leaf: Shaped[Any, "..."]) -> Shaped[np.ndarray, "..."]:
    array = np.asarray(leaf)
    return array.astype(jnp.bfloat16).view(np.uint16) if array.dtype == np.float32 else array


def _unpacked(array: Shaped[np.ndarray, "..."], kind: np.dtype) -> Shaped[np.ndarray, "..."]:
    return array.view(jnp.bfloat16).astype(np.float32) if kind == np.float32 else array
