"""Trained models restored from their checkpoints, or from files, alone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from absl import logging
from flax import nnx

from cxr_jax import checkpoints, compact, config, networks, plans, tta
from cxr_jax.plausibility import Shape
from cxr_jax.predictor import Predictor
from cxr_jax.views import Views

STAGES = ("self_training", "transfer", "adaptation", "pretraining")
TRANSLATOR = "translator"  # what a file holds that no stage leaves: half of a transfer's model


def restore(directory: str | Path) -> Predictor:
    """Restore the best checkpoint of a work directory, of its latest stage that has one, or of a stage in it.

    `directory` may also be a file of `cxr_jax.compact`. Stage, architecture, sizes and preprocessing come from the
    checkpoint itself. A work directory whose outcome is still to be trained is named in the log. Raises
    `cxr_jax.checkpoints.CheckpointError` where there is none, a damaged one, or one that draws no masks.
    """
    path = Path(directory)
    saved = _find(path, STAGES, STAGES)
    alone = path.is_file() or saved.stage != "transfer"
    last = saved.experiment.stages[-1]
    if not path.is_file() and not _epochs(path) and saved.stage != last:
        logging.warning("%s has no model of its last stage, %s, yet: this is that of %s", path, last, saved.stage)
    model, soften = (_direct if alone else _translated)(saved)
    if saved.experiment.test_time_augmentation:
        soften = tta.averaged(soften)
    return Predictor(saved.experiment, saved.stage, saved.epoch, model, partial(soften, model), saved.made, saved.shape)


def restore_all(directories: Iterable[str | Path]) -> dict[str, Predictor]:
    """Return the models by the organ that each draws; raise `CheckpointError` where two draw the same."""
    models: dict[str, Predictor] = {}
    for directory in directories:
        model = restore(directory)
        organ = model.experiment.task
        if organ in models:
            raise checkpoints.CheckpointError(
                f"{directory} draws {organ}, as another checkpoint does: give one for each organ"
            )
        models[organ] = model
    return models


def restore_translator(directory: str | Path) -> nnx.Module:
    """Restore the translator of a work directory's transfer, of that stage's folder or of a file: both directions.

    They take and give images in [-1, 1] (`b s s 1`), prepared as those they have learned from. Raises
    `cxr_jax.checkpoints.CheckpointError`.
    """
    saved = _find(Path(directory), ("transfer",), (TRANSLATOR,))
    graph, shapes = networks.build_translator(saved.experiment, None)
    if saved.stage == TRANSLATOR:
        return nnx.merge(graph, saved.restore(shapes))
    model, _ = _translated(saved)
    return nnx.merge(graph, model["translator"])


class _Saved(NamedTuple):
    """A checkpoint: the stage that made it, when, of which experiment, by what, and its model, given its shapes.

    `shape` is what the organ looks like, where the checkpoint is not older than its being told.
    """

    stage: str
    epoch: int
    experiment: plans.Experiment
    made: Mapping[str, Any]
    shape: Shape | None
    restore: Callable[[Any], Any]


def _find(path: Path, names: Sequence[str], in_files: Sequence[str]) -> _Saved:
    """Return a file's model, or the best checkpoint of a stage, or of the first of the stages `names` that has one.

    What a stage's folder holds must be of one of `names`, too, and what a file holds one of `in_files`.
    """
    if path.is_file():
        return _parse(compact.read_about(path), path, compact.restore_model, in_files)
    stages = [folder for folder in (path, *(path / name for name in names)) if _epochs(folder)]
    if not stages:
        raise checkpoints.CheckpointError(
            f"there is no checkpoint in {path}; expected a workdir of main.py, a folder of one of its "
            f"stages ({', '.join(names)}), of a table a folder of one of its cells (seed0/transfer_0, say), or a model "
            "as this project ships it"
        )
    folder = stages[0]
    checkpoint = folder / "checkpoints" / str(checkpoints.best_epoch(folder / "checkpoints"))
    about = {"stage": folder.resolve().name} | checkpoints.read_about(checkpoint)  # older ones do not say it themselves
    saved = _parse(about, checkpoint, checkpoints.restore_model, names)
    last, epochs = max(_epochs(folder)), saved.experiment.settings(saved.stage).epochs
    if last < epochs:
        logging.warning("%s has come to epoch %d of %d: this is not its outcome yet", folder, last, epochs)
    return saved


def _epochs(stage: Path) -> list[int]:
    return checkpoints.saved_epochs(stage / "checkpoints")


def _parse(about: Mapping[str, Any], path: Path, restore: Callable, names: Sequence[str]) -> _Saved:
    """Return what a checkpoint or a file says `about` itself, checked; `restore(path, shapes)` returns its model."""
    missing = {"stage", "epoch", "config"} - set(about)
    if missing:
        raise checkpoints.CheckpointError(
            f"{path} is damaged or foreign: expected a model with its stage, epoch and config, found no "
            f"{', no '.join(sorted(missing))}; fetch it anew, or name another"
        )
    try:
        experiment = config.parse(about["config"])
        shape = Shape.parse(about["shape"]) if "shape" in about else None
    except Exception as error:  # foreign values may fail in any check
        raise checkpoints.CheckpointError(
            f"checkpoint {path} is of another version of this project ({error}): restore it with the commit that "
            "its run's results.json names"
        ) from error
    stage = about["stage"]
    if stage not in names or getattr(experiment, stage) is None:
        raise checkpoints.CheckpointError(
            f"{path} holds a model of {stage!r}: expected one of {', '.join(names)}; name the folder of such a stage, "
            "under its own name if it is older than this version, or a work directory that has one"
        )
    made = about.get("made") or about.get("trained", {})
    return _Saved(stage, about["epoch"], experiment, made, shape, partial(restore, path))


def _direct(saved: _Saved) -> tuple[Any, Callable]:
    """Restore a segmenter: M_A(x)."""
    graph, shapes = networks.build_segmenter(saved.experiment, None)
    return saved.restore(shapes), networks.probability(graph)


def _translated(saved: _Saved) -> tuple[Any, Callable]:
    """Restore a transferred model: M_A(G_BA(x)), or M_A(x) where that is the target's look."""
    experiment = saved.experiment
    graph, segmenter = networks.build_segmenter(experiment, None)
    graphs, parameters = networks.build_transfer(experiment, graph, None)
    views = Views(graphs, experiment.transfer.target_look)
    blank = jnp.zeros((1, experiment.image_size, experiment.image_size, 1), jnp.uint8)
    reference = jax.eval_shape(views.reference, parameters["translator"], blank, blank)
    shapes = {"segmenter": segmenter, "translator": parameters["translator"], "reference": reference}
    return saved.restore(shapes), views.target_probability
