"""Overlap of masks, one value an image."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Masks = Bool[Array, "b h w 1"]


@jax.jit
def jaccard(predicted: Masks, truth: Masks) -> Float[Array, " b"]:
    """Intersection over union of the foreground, in percent; 100 where both masks are empty."""
    intersection = (predicted & truth).sum(axis=(1, 2, 3))
    union = (predicted | truth).sum(axis=(1, 2, 3))
    return 100.0 * jnp.where(union > 0, intersection / jnp.maximum(union, 1), 1.0)


@jax.jit
def dice(predicted: Masks, truth: Masks) -> Float[Array, " b"]:
    """Dice coefficient (F1 score) of the foreground, in percent; 100 where both masks are empty."""
    overlap = jaccard(predicted, truth) / 100.0
    return 100.0 * 2.0 * overlap / (1.0 + overlap)


@jax.jit
def expected_jaccard(probabilities: Float[Array, "b h w 1"], masks: Masks) -> Float[Array, " b"]:
    """Expected intersection of masks with the truth over their expected union, in percent; 0 of an empty mask.

    Expected, if each pixel of the truth were of the foreground with the probability that it has here.
    """
    intersection = (probabilities * masks).sum(axis=(1, 2, 3))
    union = jnp.maximum(probabilities, masks).sum(axis=(1, 2, 3))
    return 100.0 * intersection / jnp.where(union > 0, union, 1.0)
