"""Which radiographs to predict are inverted: bones dark where those that a model has learned from have them bright.

A picture does not say how it is, and the mask of an inverted one is wrong. The lungs' model tells, being surer of the
negative. (Whether a whole dataset is inverted, before anything learns from it, is told by `cxr_jax.polarity`.)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from cxr_jax import evaluation
from cxr_jax.predictor import Found, Predictor

ORGAN = "lungs"  # whose model is asked; the limits below, of expected Jaccards in percent, are for it
SURE = 90.0  # an image that has as much is not inverted, and its negative is not looked at
LEAST = 80.0  # the negative of an inverted image has as much at least
MARGIN = 5.0  # and exceeds the image by as much


def inverted(
    model: Predictor,
    images: Sequence[Shaped[np.ndarray, "_ _"]],
    found: Sequence[Found],
    *,
    tidy: bool,
    batch: int = evaluation.BATCH_SIZE,
) -> Bool[np.ndarray, " n"]:
    """Tell which radiographs seem inverted, given what the lungs' model `found` in them with the same `tidy`.

    The negatives of those in which it is not sure of its mask are predicted too, `batch` of them at once.
    """
    expected = np.array([mask.expected_jaccard for mask in found])
    doubtful = np.flatnonzero(expected < SURE)
    of_negatives = np.zeros(len(images))
    of_negatives[doubtful] = [*model.expect_of_negatives((images[n] for n in doubtful), tidy=tidy, batch=batch)]
    return of_negatives >= np.maximum(LEAST, expected + MARGIN)
