"""Losses of the segmenters and of the translation game: means over pixels and images, so their weights compare."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

Scalar = Float[Array, ""]
Scores = Sequence[Float[Array, "b _ _ 1"]]  # of each scale, which is half the one before it


def mean_absolute_error(x: Float[Array, "..."], y: Float[Array, "..."]) -> Scalar:
    """L1 distance, the reconstruction loss of MUNIT (equations 2 to 4)."""
    return jnp.abs(x.astype(jnp.float32) - y).mean()


def cross_entropy(
    logits: Float[Array, "*members b h w 1"],
    masks: Float[Array, "b h w 1"],
    labelled: Bool[Array, " b"] | None = None,
) -> Scalar:
    """Binary cross entropy over the pixels of the labelled images; 0 where none is labelled.

    It is the mean over the labelled images of a batch: an epoch's mean of it, in the log, counts batches without any as
    0, so that it does not compare shares of labels.

    With one logit this is the two-class cross entropy of the paper (section V-B). `labelled` is all true
    unless given; a mask of an unlabelled image is never read. Of an ensemble it is the sum over members, so that
    each has the gradient, beside its weight decay, that it would have alone.
    """
    per_image = optax.sigmoid_binary_cross_entropy(logits, masks).mean(axis=(-3, -2, -1))
    per_image = per_image.sum(axis=tuple(range(per_image.ndim - 1)))
    if labelled is None:
        return per_image.mean()
    return jnp.where(labelled, per_image, 0.0).sum() / jnp.maximum(labelled.sum(), 1)


def least_squares_discriminator(real: Scores, translated: Scores) -> Scalar:
    """Pull scores of real images to 1 and of translated ones to 0, summed over scales (LSGAN)."""
    return sum(((r - 1) ** 2).mean() + (t**2).mean() for r, t in zip(real, translated, strict=True))


def least_squares_generator(translated: Scores) -> Scalar:
    """Pull the scores of translated images to 1, summed over scales (LSGAN)."""
    return sum(((t - 1) ** 2).mean() for t in translated)


def drawn(logits: Float[Array, " b"]) -> Scalar:
    """Pull a critic's logits to "a person drew this mask": binary cross entropy with 1 (SCAN's J_d)."""
    return optax.sigmoid_binary_cross_entropy(logits, jnp.ones_like(logits)).mean()


def not_drawn(logits: Float[Array, " b"]) -> Scalar:
    """Pull a critic's logits to "a network made this mask": binary cross entropy with 0."""
    return optax.sigmoid_binary_cross_entropy(logits, jnp.zeros_like(logits)).mean()
