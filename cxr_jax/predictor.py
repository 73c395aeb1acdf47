"""A trained model as a person uses it: an image in, a mask of its size out, and how good that should be."""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import evaluation, metrics, plans, postprocessing
from cxr_jax.data.look import WHOLE
from cxr_jax.data.radiographs import TASKS, stored_side
from cxr_jax.plausibility import Shape
from tfds_builders.squares import resize, stored_square

Images = UInt8[Array, "b s s 1"] | UInt8[np.ndarray, "b s s 1"]
Frame = tuple[slice, slice]
Prepare = Callable[[np.ndarray], tuple[Frame, UInt8[np.ndarray, "s s 1"]]]


class Found(NamedTuple):
    """What a model found in a radiograph.

    `expected_jaccard` is the mask's Jaccard, in percent, by what the model itself holds probable
    (`cxr_jax.metrics.expected_jaccard`): low where it is unsure. `plausible` says whether the mask has the parts of the
    organ, of such sizes and in such places as the source's masks have; None where the model is older than that.
    """

    mask: Bool[np.ndarray, "h w"]
    expected_jaccard: float
    plausible: bool | None


class Softened(NamedTuple):
    """Images, their frames, and the probabilities of the foreground in these, of which there may be more."""

    images: Sequence[np.ndarray]
    frames: Sequence[Frame]
    probabilities: Float[np.ndarray, "b s s 1"]


@dataclass(frozen=True)
class Predictor:
    """A restored model.

    `soften` maps prepared images (uint8 `b s s 1`, as `cxr_jax.data.prepared.load` makes them) to probabilities of
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
    shape: Shape | None = None  # of the masks of the source, where it says so

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

    @cached_property
    def fingerprint(self) -> str:
        """A checksum of the weights and of what else makes a mask: two models that have the same draw the same."""
        plan = self.experiment
        shown = *plan.look(self.dataset), stored_side(self.dataset), self.translates
        drawn = plan.task, sorted(plan.segmenter.items()), plan.ensemble, plan.precision, plan.test_time_augmentation
        told = hashlib.sha256(repr((shown, drawn)).encode())
        for path, leaf in jax.tree.leaves_with_path(self.model):
            told.update(jax.tree_util.keystr(path).encode() + np.ascontiguousarray(leaf).tobytes())
        return told.hexdigest()[:16]

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
        for held, frames, soft in self._softened(images, batch, self._prepared):
            for mask, score, image, frame in zip(*self._drawn(soft, tidy), held, frames, strict=False):
                plausible = None if self.shape is None else bool(self.shape.plausible(mask[None])[0])
                yield Found(_at_own_size(mask, image, frame) >= 0.5, float(score), plausible)

    def expect_of_negatives(
        self, images: Iterable[np.ndarray], *, tidy: bool = False, batch: int = evaluation.BATCH_SIZE
    ) -> Iterator[float]:
        """Yield the Jaccard, in percent, that would be expected of the mask of each radiograph's negative."""
        for held, _, soft in self._softened(images, batch, self._prepared_negative):
            _, expected = self._drawn(soft, tidy)
            yield from map(float, expected[: len(held)])

    def probability(self, image: np.ndarray) -> Float[np.ndarray, "h w"]:
        """Return the probability of the foreground at each pixel of a radiograph; 0 in its black frame.

        A mask is decided at the size that the network sees, and then resized: along its edge it may differ from where
        this exceeds one half.
        """
        return next(self.probabilities([image], batch=1))

    def probabilities(
        self, images: Iterable[np.ndarray], *, batch: int = evaluation.BATCH_SIZE
    ) -> Iterator[Float[np.ndarray, "h w"]]:
        """Yield the `probability` of each radiograph in turn, `batch` of them predicted at once; no more are held."""
        for held, frames, soft in self._softened(images, batch, self._prepared):
            yield from map(_at_own_size, soft, held, frames)

    def _drawn(
        self, soft: Float[np.ndarray, "b s s 1"], tidy: bool
    ) -> tuple[Bool[np.ndarray, "b s s 1"], Float[np.ndarray, " b"]]:
        """Return masks, and the Jaccard that is to be expected of each."""
        masks = postprocessing.tidied(soft, self.parts) if tidy else soft > 0.5
        return masks, np.asarray(metrics.expected_jaccard(soft, masks))

    def _softened(self, images: Iterable[np.ndarray], batch: int, prepare: Prepare) -> Iterator[Softened]:
        """Yield `batch` images at a time, the frames of them that the networks see, and what `soften` makes of these.

        Its rows are `batch` in any case: where images are fewer, the rest repeat the last.
        """
        images = iter(images)
        while held := list(itertools.islice(images, batch)):
            frames, prepared = zip(*map(prepare, held), strict=True)
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

    def _prepared_negative(self, image: np.ndarray) -> tuple[Frame, UInt8[np.ndarray, "s s 1"]]:
        """Do so for the negative of an image, whose own black frame is cut off first: it would be white."""
        look, square = self.experiment.look(self.dataset), stored_square(image, stored_side(self.dataset))
        return WHOLE, look(255 - square[look.frame(square)])


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
