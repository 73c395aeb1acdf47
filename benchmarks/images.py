"""Random images to train on."""

import numpy as np

COUNT = 64  # stored, of which each step draws a batch


def labelled(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images in [0, 255] and masks in {0, 1}, uint8 `n h w 1`."""
    images = _drawn(0, size)
    return images, (images > 127).astype(np.uint8)


def unlabelled(size: int) -> np.ndarray:
    """Return other images alone."""
    return _drawn(1, size)


def _drawn(seed: int, size: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (COUNT, size, size, 1), np.uint8)
