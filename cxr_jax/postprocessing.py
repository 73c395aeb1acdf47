"""What is known of masks beforehand, and mends them without a label: organs are in one part and have no holes."""

import numpy as np
from jaxtyping import Bool
from scipy import ndimage


def tidied(masks: Bool[np.ndarray, "n h w 1"], parts: int) -> Bool[np.ndarray, "n h w 1"]:
    """Return masks of which only the `parts` largest connected parts are left, with their holes filled.

    Raises `ValueError` where `parts` is below 1.
    """
    if parts < 1:
        raise ValueError(f"parts must be at least 1, found {parts}")
    return np.stack([_tidied(mask[..., 0], parts)[..., None] for mask in masks])


def _tidied(mask: Bool[np.ndarray, "h w"], parts: int) -> Bool[np.ndarray, "h w"]:
    labels, _ = ndimage.label(mask)
    areas = np.bincount(labels.ravel())
    areas[0] = 0  # what is outside
    kept = [label for label in np.argsort(areas)[::-1][:parts] if areas[label]]
    return ndimage.binary_fill_holes(np.isin(labels, kept))
