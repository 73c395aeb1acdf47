"""Whether a radiograph to predict is a negative of those that a model knows, told by how sure the model is of it.

Pictures do not say whether bones are bright in them, and a mask of a negative is worth nothing. (Whether a whole
dataset is of the other polarity, before anything learns from it, is told by `cxr_jax.polarity`.)
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Shaped

from cxr_jax.predictor import Found, Predictor

SURE = 90.0  # percent: an image of whose mask so high a Jaccard is expected is no negative, and
MARGIN = 5.0  # one is whose own negative gives a mask of which so much more is expected


def found_in(
    model: Predictor, images: Sequence[Shaped[np.ndarray, "_ _"]], found: Sequence[Found], *, tidy: bool, batch: int
) -> Bool[np.ndarray, " n"]:
    """Tell which images seem to be negatives, given what the model `found` in them with the same `tidy`.

    Those in which it is sure of its mask are not looked at again; the others are predicted once more, as negatives,
    `batch` of them at once.
    """
    expected = np.array([its.expected_jaccard for its in found])
    doubtful = np.flatnonzero(expected < SURE)
    turned = model.find((images[n].max() - images[n] for n in doubtful), tidy=tidy, batch=batch)
    seem = np.zeros(len(images), bool)
    seem[doubtful] = [its.expected_jaccard for its in turned] > expected[doubtful] + MARGIN
    return seem
