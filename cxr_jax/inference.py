"""A trained model as a person uses it: restored from its checkpoint alone, an image in, a mask out."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import (
    checkpoints,
    compact,
    config,
    evaluation,
    iteration,
    metrics,
    plans,
    postprocessing,
    segmentation,
    tta,
)
from cxr_jax.data.radiographs import TASKS, stored_side
from cxr_jax.models import TRANSLATORS, initialise
from cxr_jax.views import Views
from tfds_builders.squares import resize, stored_square

Images = UInt8[Array, "b s s 1"] | UInt8[np.ndarray, "b s s 1"]
Frame = tuple[slice, slice]

STAGES = ("self_training", "transfer", "adaptation", "pretraining")
TRANSLATOR = "translator"  # what a file holds that no stage leaves: half of a transfer's model


class Found(NamedTuple):
    """What a model found in a radiograph.

    `expected_jaccard` is the mask's Jaccard, in percent, by what the model itself holds probable
    (`cxr_jax.metrics.expected_jaccard`): low where it is unsure.
    """

    mask: Bool[np.ndarray, "h w"]
    expected_jaccard: float


class Softened(NamedTuple):
    """Images, their frames, and the probabilities of the foreground in these, of which there may be more."""

    images: Sequence[np.ndarray]
    frames: Sequence[Frame]
    probabilities: Float[np.ndarray, "b s s 1"]


@dataclass(frozen=True)
class Predictor:
    """A restored model.

    `soften` maps prepared images (uint8 `b s s 1`, as `cxr_jax.data.radiographs.load` makes them) to probabilities of
    the foreground, and `predict` to boolean masks, where these exceed one half; calling the predictor maps one
    radiograph of any size to a mask of that size, `probability` to probabilities; `masks` and `probabilities` do that
    for many radiographs, and `find` says of each mask how good it should be.
    """

    experiment: plans.Experiment
    stage: str  # that the model is of
    epoch: int
    model: Any
    soften: Callable[[UInt8[Array, "b s s 1"]], Float[Array, "b s s 1"]]
    made: Mapping[str, Any] = field(default_factory=dict)  # by what command, commit and device, where it says so

    @property
    def translates(self) -> bool:
        """Say whether it segments what it makes of a target's image, not that image itself."""
        return "translator" in self.model and self.experiment.transfer.target_look == "a"

    @property
    def dataset(self) -> str:
        """The dataset as whose images it prepares those that it is given."""
        return self.experiment.target or self.experiment.source

    @property
    def learned_from(self) -> tuple[str, ...]:
        """The datasets whose images it has learned from."""
        return self.experiment.learned_from(self.stage)

    @property
    def parts(self) -> int:
        """How many parts the organ has."""
        return len(TASKS[self.experiment.task])

    def predict(self, images: Images) -> Bool[Array, "b s s 1"]:
        """Return masks of prepared images, on the device."""
        return jnp.asarray(self.soften(images)) > 0.5

    def tidy(self, images: Images) -> Bool[np.ndarray, "b s s 1"]:
        """Do as `predict`, and keep of each mask as many parts as the organ has, their holes filled."""
        return postprocessing.tidied(np.asarray(self.soften(images)), self.parts)

    def __call__(self, image: np.ndarray, *, tidy: bool = False) -> Bool[np.ndarray, "h w"]:
        """Segment one grey radiograph (h w, any integer or float type, bones bright), and `tidy` its mask on demand."""
        return next(self.masks([image], tidy=tidy, batch=1))

    def masks(
        self, images: Iterable[np.ndarray], *, tidy: bool = False, batch: int = evaluation.BATCH_SIZE
    ) -> Iterator[Bool[np.ndarray, "h w"]]:
        """Yield the mask of each radiograph in turn, `batch` of them predicted at once; no more are held."""
        return (found.mask for found in self.find(images, tidy=tidy, batch=batch))

    def find(
        self, images: Iterable[np.ndarray], *, tidy: bool = False, batch: int = evaluation.BATCH_SIZE
    ) -> Iterator[Found]:
        """Yield the mask of each radiograph in turn and how good it should be, as `masks` does."""
        for held, frames, soft in self._softened(images, batch):
            masks = postprocessing.tidied(soft, self.parts) if tidy else soft > 0.5
            expected = np.asarray(metrics.expected_jaccard(soft, masks))
            for mask, score, image, frame in zip(masks, expected, held, frames, strict=False):
                yield Found(_at_own_size(mask, image, frame) >= 0.5, float(score))

    def probability(self, image: np.ndarray) -> Float[np.ndarray, "h w"]:
        """Return the probability of the foreground at each pixel of a radiograph; 0 in its black frame."""
        return next(self.probabilities([image], batch=1))

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = evaluation.BATCH_SIZE
    ) -> Iterator[Float[np.ndarray, "h w"]]:
        """Yield the `probability` of each radiograph in turn, `batch` of them predicted at once; no more are held."""
        for held, frames, soft in self._softened(images, batch):
            yield from map(_at_own_size, soft, held, frames)

    def _softened(self, images: Iterable[np.ndarray], batch: int) -> Iterator[Softened]:
        """Yield `batch` images at a time, the frames of them that the networks see, and what `soften` makes of these.

        Its rows are `batch` in any case: where images are fewer, the rest repeat the last.
        """
        images = iter(images)
        while held := list(itertools.islice(images, batch)):
            frames, prepared = zip(*map(self._prepared, held), strict=True)
            filled = np.stack([*prepared, *[prepared[-1]] * (batch - len(held))])  # one shape is compiled once
            yield Softened(held, frames, np.asarray(self.soften(filled)))

    def _prepared(self, image: np.ndarray) -> tuple[Frame, UInt8[np.ndarray, "s s 1"]]:
        """Return the frame of an image that the networks see, and that as they see it: by way of a stored square.

        They have learned from squares that were stored in 8 bits, and where the frame ends was told in these.
        """
        if image.ndim != 2 or not np.issubdtype(image.dtype, np.number) or not np.isfinite(image).all():
            raise ValueError(f"expected one grey image (h w) of finite numbers, found {image.shape} {image.dtype}")
        if not image.size:
            raise ValueError(f"expected one grey image (h w), found an empty one, {image.shape}")
        look, square = self.experiment.look(self.dataset), stored_square(image, stored_side(self.dataset))
        return _scaled(look.frame(square), len(square), image.shape), look(square)


def _scaled(frame: Frame, stored: int, shape: tuple[int, int]) -> Frame:
    """Return the pixels of an image of that shape which lie in a part of its `stored` square, one at least."""
    scaled = []
    for part, side in zip(frame, shape, strict=True):
        first, end, _ = part.indices(stored)
        start = min(math.ceil(first * side / stored), side - 1)
        scaled.append(slice(start, max(math.floor(end * side / stored), start + 1)))
    return scaled[0], scaled[1]


def _at_own_size(
    found: Float[np.ndarray, "s s 1"] | Bool[np.ndarray, "s s 1"], image: np.ndarray, frame: Frame
) -> Float[np.ndarray, "h w"]:
    """Return what was found in an image's frame at the image's own size, 0 outside of the frame."""
    whole = np.zeros(image.shape, np.float32)
    whole[frame] = resize(found[..., 0].astype(np.float32), whole[frame].shape)
    return whole


def restore(directory: str | Path) -> Predictor:
    """Restore the best checkpoint of a work directory, of its latest stage that has one, or of a stage in it.

    `directory` may also be a file of `cxr_jax.compact`. Stage, architecture, sizes and preprocessing come from the
    checkpoint itself. A work directory whose outcome is still to be trained is named in the log. Raises
    `cxr_jax.checkpoints.CheckpointError` where there is none, a damaged one, or one that draws no masks.
    """
    path = Path(directory)
    saved = _find(path, STAGES, STAGES)
    alone = path.is_file() or saved.stage in segmentation.STREAMS
    if not path.is_file() and not _epochs(path) and saved.stage != saved.experiment.stage:
        logging.warning(
            "%s has no model of its last stage, %s, yet: this is that of %s", path, saved.experiment.stage, saved.stage
        )
    model, soften = (_direct if alone else _translated)(saved)
    if saved.experiment.test_time_augmentation:
        soften = tta.averaged(soften)
    return Predictor(saved.experiment, saved.stage, saved.epoch, model, partial(soften, model), saved.made)


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
    section = saved.experiment.translator
    sizes = plans.network_sizes(section)
    graph, shapes = initialise(TRANSLATORS[section["name"]], None, saved.experiment.precision, **sizes)
    if saved.stage == TRANSLATOR:
        return nnx.merge(graph, saved.restore(shapes))
    model, _ = _translated(saved)
    return nnx.merge(graph, model["translator"])


class _Saved(NamedTuple):
    """A checkpoint: the stage that made it, when, of which experiment, by what, and its model, given the shapes."""

    stage: str
    epoch: int
    experiment: plans.Experiment
    made: Mapping[str, Any]
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
            f"stages ({', '.join(names)}), or a model as this project ships it"
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
    return _Saved(stage, about["epoch"], experiment, about.get("made", {}), partial(restore, path))


def _direct(saved: _Saved) -> tuple[Any, Callable]:
    """Restore a segmenter: M_A(x)."""
    graph, shapes = segmentation.build(saved.experiment, None)
    return saved.restore(shapes), segmentation.probability(graph)


def _translated(saved: _Saved) -> tuple[Any, Callable]:
    """Restore a transferred model: M_A(G_BA(x)), or M_A(x) where that is the target's look."""
    experiment = saved.experiment
    graph, segmenter = segmentation.build(experiment, None)
    graphs, parameters = iteration.build(experiment, graph, None)
    views = Views(graphs, experiment.transfer.target_look)
    blank = jnp.zeros((1, experiment.image_size, experiment.image_size, 1), jnp.uint8)
    reference = jax.eval_shape(views.reference, parameters["translator"], blank, blank)
    shapes = {"segmenter": segmenter, "translator": parameters["translator"], "reference": reference}
    return saved.restore(shapes), views.target_probability
