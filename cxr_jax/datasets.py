"""Source and target of an experiment: loaded, split, and checked for the labels that it needs."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Bool, Int, UInt8

from cxr_jax import config, plans
from cxr_jax.data import large, prepared, splits
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.data.stream import Stream
from cxr_jax.plausibility import Shape


class Side(NamedTuple):
    """One dataset's part in a transfer; where it has a `stream`, that trains, and `training` is a sample of it."""

    training: Radiographs
    validation: Radiographs
    stream: Stream | None = None

    @property
    def count(self) -> int:
        """The number of training images."""
        return len(self.training if self.stream is None else self.stream)

    @property
    def images(self) -> UInt8[np.ndarray, "n s s 1"]:
        """The images in memory, training's first, for what is told without their labels."""
        return np.concatenate([self.training.images, self.validation.images])


class Data(NamedTuple):
    """Both datasets with their splits, and which of B's training images keep their labels; or the source alone.

    Of a target that is too large for memory, `target` is a part, which validates and tests, and the `stream` has all
    other images to train a transfer.
    """

    source: Radiographs
    source_split: splits.Split
    target: Radiographs | None
    target_split: splits.Split | None
    labelled: Bool[np.ndarray, " n"]  # of the training images of `target_split`
    stream: Stream | None = None

    def sides(self) -> tuple[Side, Side]:
        """Return both datasets' parts in a transfer."""
        parts = (self.source, self.source_split, None), (self.target, self.target_split, self.stream)
        return tuple(Side(images[split.train], images[split.validation], more) for images, split, more in parts)

    def known(self) -> Bool[np.ndarray, " n"]:
        """Tell which of the target's images keep their labels, to train or, where any is left, to choose the epoch."""
        known = np.zeros(len(self.target), bool)
        known[self.target_split.train[self.labelled]] = True
        known[self.judges()] = self.labelled.any()
        return known

    @property
    def labelled_epoch(self) -> int:
        """The images of an epoch that learns from labels: the share that trains of all that have a mask.

        So it is as long whatever share of the labels is kept, and no longer where a few of many images have any.
        """
        return splits.training_share(int(self.target.has_mask.sum()))

    def judges(self) -> Int[np.ndarray, " n"]:
        """Return those of the target's validation images that have a mask."""
        return self.target_split.validation[self.target.has_mask[self.target_split.validation]]

    def learned_from(self, experiment: plans.Experiment) -> dict[str, str]:
        """Return checksums of what an experiment learns of folders, which may change under its hands."""
        found = {}
        if experiment.source_dir is not None:
            found["source_dir"] = self.source.fingerprint()
        if experiment.target_dir is not None and experiment.method != "segmentation":
            seen = self.target if experiment.label_frac > 0 else self.target.with_other_masks(None)
            found["target_dir"] = seen.fingerprint() if self.stream is None else self.stream.checksum
        return found

    def shape(self) -> Shape:
        """Return what the organ looks like in the source's training images."""
        return Shape.of(self.source.masks[self.source_split.train])


class _Images(NamedTuple):
    """Source and target as they are prepared for a task, and a target as a whole where only a part is in memory."""

    source: Radiographs
    target: Radiographs | None
    whole: large.Large | None


def load(experiment: plans.Experiment, data_dir: str | None, manual_dir: str | None) -> Data:
    """Load the datasets and split them; raise `ConfigError` where they lack labels that are needed."""
    return _arranged(experiment, _images(experiment, data_dir, manual_dir))


def each(
    experiments: Sequence[plans.Experiment], data_dir: str | None, manual_dir: str | None
) -> Iterator[tuple[int, Data]]:
    """Yield the place of each of several experiments on the same datasets, and what `load` returns or raises for it.

    They may differ in method, task, fold, seed and share of labels. Images are loaded once for each task.
    """
    for task in dict.fromkeys(experiment.task for experiment in experiments):
        of_task = {place: experiment for place, experiment in enumerate(experiments) if experiment.task == task}
        images = _images(max(of_task.values(), key=lambda experiment: experiment.label_frac), data_dir, manual_dir)
        for place, experiment in of_task.items():
            yield place, _arranged(experiment, images)


def _images(experiment: plans.Experiment, data_dir: str | None, manual_dir: str | None) -> _Images:
    folders = {"source": experiment.source_dir, "target": experiment.target_dir}
    if experiment.target is None:
        del folders["target"]
    folders_first = sorted(folders, key=lambda side: folders[side] is None)  # what is wrong with those is told at once
    loaded = {side: _read(experiment, side, data_dir, manual_dir) for side in folders_first}
    return _Images(loaded["source"][0], *loaded.get("target", (None, None)))


def _arranged(experiment: plans.Experiment, images: _Images) -> Data:
    """Split the images as an experiment wants them."""
    source, target, whole = images
    _require_labels(experiment, source, target)
    source = source.with_masks()
    source_split = splits.split(source.ids, experiment.fold, experiment.seed, source.patients)
    if target is None:
        return Data(source, source_split, None, None, np.zeros(0, bool))
    target_split = splits.split(target.ids, experiment.fold, experiment.seed, target.patients)
    labelled = _labelled(experiment, target, target_split.train)
    stream = None
    if whole is not None:
        kept_back = [target.ids[row] for row in (*target_split.validation, *target_split.test)]
        stream = whole.stream(kept_back, experiment.look(experiment.target))
    data = Data(source, source_split, target, target_split, labelled, stream)
    _require_labels_kept(experiment, data)
    _require_apart(data)
    return data


def _read(
    experiment: plans.Experiment, side: str, data_dir: str | None, manual_dir: str | None
) -> tuple[Radiographs, large.Large | None]:
    """Load source or target; of a target that is too large for memory, the part that is held there."""
    name, folder = getattr(experiment, side), getattr(experiment, f"{side}_dir")
    whole = _large(experiment, prepared.prepare(name, data_dir, manual_dir, folder)) if side == "target" else None
    places = None if whole is None else whole.held
    look = experiment.look(name)
    loaded = prepared.load(name, experiment.task, look, data_dir, manual_dir, folder=folder, places=places)
    return loaded, whole


def _large(experiment: plans.Experiment, builder: tfds.core.DatasetBuilder) -> large.Large | None:
    """Choose which images of the target are held in memory, or return None where all are.

    Raises `ConfigError` where labels are to be learned from, which do not stream, or too few patients are left.
    """
    count, most = large.count(builder), experiment.target_in_memory
    if count <= most:
        return None
    if experiment.label_frac > 0:
        raise config.ConfigError(
            f"config.target {experiment.target!r} has {count} images, of which config.target_in_memory lets {most} be "
            f"held in memory; the others stream, without labels. Expected config.label_frac 0, found "
            f"{experiment.label_frac}: set that, or config.target_in_memory to {count} at least"
        )
    whole = large.choose(builder, most)
    if whole.people < splits.FOLDS:
        raise config.ConfigError(
            f"config.target_in_memory is {most}: expected room for all images of at least {splits.FOLDS} patients of "
            f"{experiment.target!r}, found it for {whole.people}; raise it"
        )
    return whole


def _labelled(experiment: plans.Experiment, target: Radiographs, rows: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Return which of the training images, `rows`, keep their label: a share of those that have one."""
    having = rows[target.has_mask[rows]]
    some = target[having]
    return np.isin(rows, having[splits.labelled(some.ids, experiment.label_frac, experiment.seed, some.patients)])


def _require_labels(experiment: plans.Experiment, source: Radiographs, target: Radiographs | None) -> None:
    """Raise `ConfigError` where labels that are needed are not there."""
    if source.masks is None:
        raise config.ConfigError(
            f"config.source {source.name!r} has no labels for {experiment.task}, which M_A is to learn from: take "
            "another --config.source, or another --config.task"
        )
    having = source.with_masks()
    people = set(having.patients or having.ids)
    if len(people) < splits.FOLDS:
        raise config.ConfigError(
            f"config.source {source.name!r}: expected masks for {experiment.task} of at least {splits.FOLDS} images, "
            f"each of another patient where these are known; found {len(people)}"
        )
    if target is None or target.masks is not None:
        return
    if experiment.label_frac > 0:
        raise config.ConfigError(
            f"config.target {target.name!r} has no labels for {experiment.task}; config.label_frac must be 0, "
            f"found {experiment.label_frac}"
        )
    logging.warning("%s has no labels for %s: its results are qualitative", target.name, experiment.task)


def _require_apart(data: Data) -> None:
    """Raise `ConfigError` where the source's training or validation images are among those that test the target."""
    source = data.source[np.concatenate([data.source_split.train, data.source_split.validation])]
    target = data.target[data.target_split.test]
    learned = set(map(_digest, source.images))
    shared = [name for name, image in zip(target.ids, target.images, strict=True) if _digest(image) in learned]
    if shared:
        raise config.ConfigError(
            f"expected other images in config.target {data.target.name!r} than in config.source {data.source.name!r}; "
            f"found {len(shared)} of the {len(target)} that test the target among those that the segmenter learns "
            f"from, {shared[0]} first: take them out of one of the two"
        )


def _digest(image: np.ndarray) -> bytes:
    return blake2b(image.tobytes(), digest_size=16).digest()


def _require_labels_kept(experiment: plans.Experiment, data: Data) -> None:
    """Raise `ConfigError` where a share of the target's labels is asked for, and those there are do not go round."""
    if experiment.label_frac == 0:
        return
    train, validation, _ = data.target_split
    for rows, found, what in (
        (train, data.labelled.sum(), "train"),
        (validation, len(data.judges()), "choose the epoch"),
    ):
        if not found:
            some = ", ".join(data.target.ids[row] for row in rows[:3])
            raise config.ConfigError(
                f"config.target {data.target.name!r}: expected masks for {experiment.task} among the {len(rows)} "
                f"images that {what}, found none; draw some, of {some} say, or take another config.fold"
            )
