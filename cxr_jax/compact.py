"""A model as one small file: its kernels in 8 bits, deflated, with the config that they belong to.

That is how weights are shipped. The file is NumPy's npz, read without pickles, so that nothing in it is executed.
"""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Shaped

from cxr_jax import files
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.data.radiographs import TASKS

SUFFIX = ".npz"
WEIGHTS = Path(__file__).parent / "weights"  # that ship
ABOUT = "about"
SCALE = " scale"  # ends the name of what a kernel's 8-bit numbers are multiplied by
MAX_BYTES = 2**30  # of a file's arrays; the largest network of this project, alone, has an eighth of that

Tree = Any


def write(path: Path, model: Tree, about: Mapping[str, Any]) -> None:
    """Write a model; kernels are rounded to 8 bits, each output channel in steps of 1/127 of its largest weight.

    Raises `ValueError` for one that would be refused when it is read, for its size.
    """
    arrays = {}
    for name, leaf in _named(model).items():
        arrays |= _packed(name, np.asarray(leaf))
    size = sum(array.nbytes for array in arrays.values())
    if size > MAX_BYTES:
        raise ValueError(f"expected a model of at most {MAX_BYTES} bytes, found {size}: keep its checkpoint instead")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}, **arrays)
    files.write(path, buffer.getvalue())


def shipped(folder: Path = WEIGHTS) -> list[Path]:
    """Return the files of the shipped segmenters, one an organ."""
    return [path for organ in TASKS if (path := folder / f"{organ}{SUFFIX}").exists()]


def read_about(path: Path) -> dict[str, Any]:
    """Return what was written beside a model; raise `CheckpointError` where the file is none, or damaged."""
    with _refusal(path):
        return dict(json.loads(_read(path)[ABOUT].tobytes()))


def restore_model(path: Path, like: Tree) -> Tree:
    """Return a model; `like` gives structure, shapes and types (arrays or `jax.eval_shape`'s).

    Raises `CheckpointError` as `read_about` does, and for a model that is not `like` that.
    """
    with _refusal(path):
        arrays, shapes = _read(path), _named(like)
        found = {name: array.shape for name, array in arrays.items() if name != ABOUT and not name.endswith(SCALE)}
        if found != {name: leaf.shape for name, leaf in shapes.items()}:
            raise CheckpointError(f"{path} holds a model of another architecture than its config says: fetch it anew")
        leaves = [_unpacked(arrays[name], arrays.get(name + SCALE)).astype(leaf.dtype) for name, leaf in shapes.items()]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)


@contextmanager
def _refusal(path: Path) -> Iterator[None]:
    """Make whatever goes wrong with a file one `CheckpointError`: its bytes are not trusted."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # zipfile, zlib, NumPy and json raise many kinds
        raise CheckpointError(
            f"{path} is missing, unreadable, damaged or another kind of file: expected a model as this project ships "
            "it (cxr_jax/weights); fetch it anew, or name the work directory of a run"
        ) from error


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return a file's arrays by name; their sizes, and that they are deflated, are known before any is unpacked."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES:
            raise CheckpointError(
                f"{path} unpacks to {size} bytes: expected a model of at most {MAX_BYTES}; do not use it"
            )
        if any(entry.compress_type != zipfile.ZIP_DEFLATED for entry in entries):  # no other is unpacked in pieces
            raise zipfile.BadZipFile("expected deflated entries")
        return {entry.filename.removesuffix(".npy"): _array(archive, entry) for entry in entries}


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """Return an array of an archive; no more is unpacked than the archive says that there is."""
    with archive.open(entry) as file:
        return np.lib.format.read_array(io.BytesIO(file.read(entry.file_size)), allow_pickle=False)


def _named(tree: Tree) -> dict[str, Any]:
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _packed(name: str, array: Shaped[np.ndarray, "..."]) -> dict[str, Shaped[np.ndarray, "..."]]:
    """Return a kernel, whose last axis is that of its output channels, as 8 bits and a scale; all else as it is."""
    if array.dtype != np.float32 or array.ndim < 2:
        return {name: array}
    scale = np.abs(array).max(axis=tuple(range(array.ndim - 1))) / 127
    return {name: np.rint(array / np.where(scale > 0, scale, 1)).astype(np.int8), name + SCALE: scale}


def _unpacked(array: Shaped[np.ndarray, "..."], scale: Shaped[np.ndarray, "..."] | None) -> Shaped[np.ndarray, "..."]:
    return array if scale is None else array * np.broadcast_to(scale, array.shape)
