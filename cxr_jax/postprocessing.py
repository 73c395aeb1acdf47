"""What is known of masks beforehand, and mends them without a label: organs are in one part and have no holes."""

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Soft = Float[np.ndarray, "n h w 1"] | Bool[np.ndarray, "n h w 1"]


def tidied(probabilities: Soft, parts: int) -> Bool[np.ndarray, "n h w 1"]:
    """Return masks, where probabilities exceed one half, with as many connected parts left, and their holes filled.

    Those `parts` are left that weigh most. A pixel weighs by how far its probability p exceeds one half, 2 p - 1, so
    that a part weighs its area where it is sure, as in a mask, and less where it is not. Raises `ValueError` where
    `parts` is below 1.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, found {parts}")
    return np.stack([_tidied(soft[..., 0], parts)[..., None] for soft in probabilities])


def _tidied(soft: Float[np.ndarray, "h w"] | Bool[np.ndarray, "h w"], parts: int) -> Bool[np.ndarray, "h w"]:
    labels, _ = ndimage.label(soft > 0.5)
    weights = np.bincount(labels.ravel(), weights=2.0 * soft.ravel() - 1.0)
    weights[0] = 0  # what is outside
    kept = [label for label in np.argsort(weights)[::-1][:parts] if weights[label]]
    return ndimage.binary_fill_holes(np.isin(labels, kept))
