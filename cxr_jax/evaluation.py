"""Scores of a segmenter on a dataset, image by image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import metrics, surface
from cxr_jax.data.radiographs import Radiographs

BATCH_SIZE = 16

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
    predicted = in_batches(predict, radiographs.images)
    truth = jnp.asarray(radiographs.masks, bool)
    return {"jaccard": metrics.jaccard(predicted, truth), "dice": metrics.dice(predicted, truth)}


def distances(predict: Predict, radiographs: Radiographs) -> dict[str, np.ndarray]:
    """Return `hd95_mm` and `assd_mm` of every radiograph; nothing where the size of a pixel is unknown."""
    if radiographs.spacing is None:
        return {}
    predicted = np.asarray(in_batches(predict, radiographs.images))
    values = surface.surface_distances(predicted, radiographs.masks.astype(bool), radiographs.spacing)
    return {f"{name}_mm": value for name, value in values.items()}


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
