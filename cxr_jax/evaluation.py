"""Scores of a segmenter on a dataset, image by image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import metrics, postprocessing, surface
from cxr_jax.data.radiographs import Radiographs

BATCH_SIZE = 16

Masks = Bool[Array, "n s s 1"]
Predict = Callable[[UInt8[Array, "b h w 1"]], Bool[Array, "b h w 1"]]


def in_batches(function: Callable[..., Any], *arrays: np.ndarray | jax.Array, size: int = BATCH_SIZE) -> Any:
    """Apply `function` to slices of `size` rows of the arrays and concatenate what it returns (any pytree).

    The last slice is filled up with its last row, so that a jitted function compiles once.
    """
    count = len(arrays[0])
    if not count:
        raise ValueError("expected at least one image, found none")
    size = min(size, count)
    results = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        results.append(function(*(array[rows] for array in arrays)))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts)[:count], *results)


def overlap(predict: Predict, radiographs: Radiographs) -> dict[str, Float[Array, " n"]]:
    """Return `jaccard` and `dice` of every radiograph, in percent. The dataset must have masks.

    This does not wait for the device where `predict` does not.
    """
    return overlap_of(in_batches(predict, radiographs.images), radiographs)


def overlap_of(masks: Masks, radiographs: Radiographs) -> dict[str, Float[Array, " n"]]:
    """Return the same of masks that have been predicted."""
    truth = jnp.asarray(radiographs.masks, bool)
    return {"jaccard": metrics.jaccard(masks, truth), "dice": metrics.dice(masks, truth)}


def distances_of(masks: Bool[np.ndarray, "n s s 1"], radiographs: Radiographs) -> dict[str, np.ndarray]:
    """Return `hd95_mm` and `assd_mm` of predicted masks; nothing where the size of a pixel is unknown."""
    if radiographs.spacing is None:
        return {}
    values = surface.surface_distances(masks, radiographs.masks.astype(bool), radiographs.spacing)
    return {f"{name}_mm": value for name, value in values.items()}


def scores(soft: Float[np.ndarray, "n s s 1"], radiographs: Radiographs, parts: int) -> dict[str, dict[str, Any]]:
    """Return overlap and surface distances of predicted masks, as results files hold them, where the truth is known.

    The masks are where the probabilities `soft` exceed one half. Overlap is told of them as they are, and tidied: with
    an organ's `parts` alone, their holes filled. Where no radiograph has a mask, there is nothing.
    """
    known = np.flatnonzero(radiographs.has_mask)
    if not len(known):
        return {}
    soft, radiographs = soft[known], radiographs[known]
    masks = soft > 0.5
    tidied = overlap_of(jnp.asarray(postprocessing.tidied(soft, parts)), radiographs)
    values = {
        **overlap_of(jnp.asarray(masks), radiographs),
        **{f"{name}_tidied": value for name, value in tidied.items()},
        **distances_of(masks, radiographs),
    }
    return summary(values, radiographs.ids)


def summary(scores: Mapping[str, np.ndarray | jax.Array], ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return mean, standard deviation over images (of the sample) and the value of each image, by metric."""
    scores = {name: np.asarray(values) for name, values in scores.items()}
    return {
        name: {
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            "per_image": {key: float(value) for key, value in zip(ids, values, strict=True)},
        }
        for name, values in scores.items()
    }
