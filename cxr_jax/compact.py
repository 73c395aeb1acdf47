"""A model as one small file: its kernels in 8 bits, deflated, with the config that they belong to.

That is how weights are shipped. The file is NumPy's npz, read without pickles, so that nothing in it is executed.
"""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from cxr_jax import files
from cxr_jax.checkpoints import CheckpointError

SUFFIX = ".npz"
ABOUT = "about"
SCALE = " scale"  # ends the name of what a kernel's 8-bit numbers are multiplied by

Tree = Any


def write(path: Path, model: Tree, about: Mapping[str, Any]) -> None:
    """Write a model; kernels are rounded to 8 bits, each output channel in steps of 1/127 of its largest weight."""
    arrays = {}
    for name, leaf in _named(model).items():
        arrays |= _packed(name, np.asarray(leaf))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}, **arrays)
    files.write(path, buffer.getvalue())


def read_about(path: Path) -> dict[str, Any]:
    """Return what was written beside a model; raise `CheckpointError` where the file is none, or damaged."""
    return json.loads(_read(path)[ABOUT].tobytes())


def restore_model(path: Path, like: Tree) -> Tree:
    """Return a model; `like` gives structure, shapes and types (arrays or `jax.eval_shape`'s)."""
    arrays, shapes = _read(path), _named(like)
    found, expected = {name for name in arrays if name != ABOUT and not name.endswith(SCALE)}, set(shapes)
    if found != expected or any(arrays[name].shape != shapes[name].shape for name in shapes):
        raise CheckpointError(f"{path} holds a model of another architecture than its config says: it is damaged")
    leaves = [(arrays[name] * arrays.get(name + SCALE, 1)).astype(leaf.dtype) for name, leaf in shapes.items()]
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


def _packed(name: str, array: Shaped[np.ndarray, "..."]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return a kernel, whose last axis is that of its output channels, as 8 bits and a scale; all else as it is."""
    if array.dtype != np.float32 or array.ndim < 2:
        return {name: array}
    scale = np.abs(array).max(axis=tuple(range(array.ndim - 1))) / 127
    return {name: np.rint(array / np.where(scale > 0, scale, 1)).astype(np.int8), name + SCALE: scale}
