"""Orbax: save, resume, and restore a model alone. Nothing else in the project touches checkpoint files.

A checkpoint of an epoch holds three items: `model` (what inference needs), `training` (what resuming needs)
and `about` (what made it, score, checksums).
"""

import errno
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from orbax.checkpoint.checkpoint_managers import preservation_policy

from cxr_jax.errors import UserError

Tree = Any


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of another architecture, or one that could not be written."""


class Checkpoints:
    """The checkpoints of one training stage: the latest two, from which it resumes, and the best."""

    def __init__(self, directory: Path, about: Mapping[str, Any]):
        """Open `directory`, which is made if need be; every checkpoint says `about` itself what made it."""
        self._directory = directory
        self._about = about
        directory.mkdir(parents=True, exist_ok=True)
        keep = preservation_policy.AnyPreservationPolicy(
            [
                preservation_policy.LatestN(2),
                preservation_policy.BestN(n=1, get_metric_fn=lambda metrics: metrics["score"]),
            ]
        )
        self._manager = ocp.CheckpointManager(
            directory.resolve(),
            item_names=("model", "training", "about"),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keep,
                best_fn=lambda metrics: metrics["score"],  # without which no score is kept for the next process
                cleanup_tmp_directories=True,
                # members save at the same time, and processes wait for each other at barriers, found by name
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    barrier_sync_key_prefix=str(directory.resolve())
                ),
            ),
        )

    def save(self, epoch: int, model: Tree, training: Tree, score: float) -> None:
        """Save an epoch while training goes on; `score` decides which is the best. Copies are taken at once."""
        model, training = to_host(model), to_host(training)
        self._require_space(model, training)
        about = {**self._about, "epoch": epoch, "score": score}
        about |= {"model": checksum(model), "training": checksum(training)}
        try:
            self._manager.save(
                epoch,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    training=ocp.args.StandardSave(training),
                    about=ocp.args.JsonSave(about),
                ),
                metrics={"score": score},
            )
        except OSError as error:
            raise self._unwritten(error) from error

    def resume(self, training: Tree) -> tuple[int, Tree]:
        """Return the latest epoch and its training state, shaped as `training`; (0, `training`) if there is none.

        A damaged checkpoint is passed over, with a warning, for the one before, and taken away once that one is
        restored. Where none can be, all stay and `CheckpointError` is raised: the fault may be elsewhere.
        """
        damaged = {}
        for epoch in sorted(self._manager.all_steps(), reverse=True):
            try:
                state = _restore(self._directory / str(epoch), "training", training)
            except CheckpointError as error:
                logging.warning("%s; falling back to the checkpoint before", error)
                damaged[epoch] = error
                continue
            for other in damaged:
                self._manager.delete(other)
            return epoch, state
        if damaged:
            latest = max(damaged)
            raise CheckpointError(
                f"{damaged[latest]}, and so are all before it. They are kept: train with the commit that wrote them, "
                f"or take {self._directory.parent} away to train that stage anew"
            ) from damaged[latest]
        return 0, training

    def best(self, model: Tree) -> tuple[int, float, Tree]:
        """Return epoch, score and model of the best checkpoint; `model` gives the shapes."""
        self.wait()
        epoch = best_epoch(self._directory)
        about = read_about(self._directory / str(epoch))
        return epoch, about["score"], _restore(self._directory / str(epoch), "model", model)

    def wait(self) -> None:
        """Wait until everything is on disk."""
        try:
            self._manager.wait_until_finished()
        except OSError as error:
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Wait, and release the directory."""
        self.wait()
        self._manager.close()

    def _require_space(self, *trees: Tree) -> None:
        needed = sum(leaf.nbytes for tree in trees for leaf in jax.tree.leaves(tree)) + 2**20
        if shutil.disk_usage(self._directory).free < needed:
            raise self._unwritten(OSError(errno.ENOSPC, f"less than the {needed} bytes that it needs are free"))

    def _unwritten(self, error: OSError) -> CheckpointError:
        return CheckpointError(
            f"the checkpoint in {self._directory} could not be written: {error}. The checkpoints before it are "
            "intact; free some space and give the same command again"
        )


def require_finished(directory: Path, epochs: int) -> None:
    """Raise `CheckpointError` unless a stage's last epoch, `epochs`, is among its checkpoints in `directory`."""
    found = max(saved_epochs(directory), default=0)
    if not found:
        raise CheckpointError(f"there is no checkpoint in {directory}; train first (--mode=train)")
    if found < epochs:
        raise CheckpointError(
            f"{directory} ends at epoch {found} of {epochs}: give the command with --mode=train first"
        )


def saved_epochs(directory: Path) -> list[int]:
    """Return the epochs of which a stage has whole checkpoints."""
    return sorted(int(path.name) for path in directory.glob("*") if path.name.isdigit())


def best_epoch(directory: Path) -> int:
    """Return the epoch with the highest score (the latest of equals) among the checkpoints of a stage."""
    epochs = saved_epochs(directory)
    if not epochs:
        raise CheckpointError(f"there is no checkpoint in {directory}; train first (--mode=train)")
    return max(epochs, key=lambda epoch: (read_about(directory / str(epoch))["score"], epoch))


def read_about(checkpoint: Path) -> dict[str, Any]:
    """Return what made one checkpoint, its epoch, score and checksums."""
    try:
        with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
            return reader.restore(checkpoint.resolve() / "about")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {checkpoint} is missing or damaged: {error}") from error


def restore_model(checkpoint: Path, model: Tree) -> Tree:
    """Return the model of one checkpoint; `model` gives structure and shapes (arrays or `jax.eval_shape`'s)."""
    return _restore(checkpoint, "model", model)


def to_host(tree: Tree) -> Tree:
    """Copy a tree to NumPy arrays; random keys become their data."""

    def copy(leaf: Any) -> np.ndarray:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(copy, tree)


def checksum(tree: Tree) -> str:
    """Return the CRC-32 of all arrays of a host tree, in order."""
    value = 0
    for leaf in jax.tree.leaves(tree):
        value = zlib.crc32(np.ascontiguousarray(leaf).tobytes(), value)
    return f"{value:08x}"


def _restore(checkpoint: Path, item: str, like: Tree) -> Tree:
    """Return one item of a checkpoint as host arrays, checked against its checksum, keys made keys again."""
    about = read_about(checkpoint)

    def shape(leaf: Any) -> jax.ShapeDtypeStruct:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)
        return jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        )

    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as reader:
            restored = reader.restore(
                checkpoint.resolve() / item, args=ocp.args.StandardRestore(jax.tree.map(shape, like))
            )
    except Exception as error:  # Orbax and TensorStore raise many kinds for a file that is cut off or misfits
        reason = str(error).strip().splitlines()[0][:300]
        raise CheckpointError(
            f"checkpoint {checkpoint} cannot be restored: it is damaged or of another architecture ({reason})"
        ) from error
    if checksum(to_host(restored)) != about[item]:
        raise CheckpointError(f"checkpoint {checkpoint} is damaged: the checksum of its {item} does not fit")

    def rekey(leaf: Any, restored_leaf: jax.Array) -> jax.Array:
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(restored_leaf) if is_key else restored_leaf

    return jax.tree.map(rekey, like, restored)
