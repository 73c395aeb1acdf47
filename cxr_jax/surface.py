"""Distances between the surfaces of binary masks on the host, in millimetres where the size of a pixel is given so.

The surface of a mask is its pixels with one of four neighbours outside it; beyond the border of the image all is
background, so a mask that touches the border has surface there. A distance is Euclidean, from the centre of a surface
pixel of one mask to the nearest such centre of the other: two sets of distances, one a direction.

- `hd95` is the larger of the two sets' 95th percentiles (linear between ranks). With the 100th percentile this is the
  Hausdorff distance as scikit-image has it; MONAI takes percentiles so too, MedPy that of both sets in one.
- `assd` is the mean of both sets in one, so that every surface pixel counts alike, as in MedPy and MONAI.

Two empty masks agree: 0. Where exactly one is empty no distance exists, and the value is the diagonal of the image:
no two of its pixels lie further apart, so a missed organ is worse than any found one and means stay finite, where
infinity would swallow every other image and leaving the image out would reward the miss.

Both are one value an image; `signed_distances` are one for each pixel of the truth's surface.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Real
from scipy import ndimage

PERCENTILE = 95.0

Mask = Bool[np.ndarray, "h w"]
Masks = Bool[np.ndarray, "b h w 1"]
Spacing = Sequence[float] | Real[np.ndarray, "2"]


def hd95(predicted: Mask, truth: Mask, spacing: Spacing) -> float:
    """Return the 95th percentile of the symmetric Hausdorff distance of two masks, in mm.

    `spacing` is the size of a pixel in mm, (row, column). Raises `ValueError` where masks are not boolean or differ
    in shape, or sizes are not positive.
    """
    return _one_pair(predicted, truth, spacing)[0]


def assd(predicted: Mask, truth: Mask, spacing: Spacing) -> float:
    """Return the average symmetric surface distance of two masks, in mm; arguments and errors as of `hd95`."""
    return _one_pair(predicted, truth, spacing)[1]


def surface_distances(
    predicted: Masks, truth: Masks, spacing: Spacing | Real[np.ndarray, "b 2"]
) -> dict[str, Float[np.ndarray, " b"]]:
    """Return `hd95` and `assd` of every pair of masks, in mm, from one distance transform a mask.

    `spacing` is the size of a pixel in mm, (row, column), of all images or, as an array (b 2), of each. Raises
    `ValueError` where masks are not boolean or differ in shape, or sizes are not positive.
    """
    _check_masks(predicted, truth, "b h w 1")
    sizes = _pixel_sizes(spacing, len(truth))
    pairs = zip(predicted[..., 0], truth[..., 0], sizes, strict=True)
    values = np.array([_distances(one, other, size) for one, other, size in pairs])
    return {"hd95": values[:, 0], "assd": values[:, 1]}


def signed_distances(predicted: Mask, truth: Mask, spacing: Spacing) -> Float[np.ndarray, "h w"]:
    """Return how far the predicted mask reaches beyond each surface pixel of the truth; elsewhere nan.

    It is the distance to the predicted surface, in the unit of `spacing`, negative where the predicted mask does not
    hold the pixel; of an empty predicted mask, the image's diagonal, negative. Arguments and errors as of `hd95`.
    """
    _check_masks(predicted, truth, "h w")
    (size,) = _pixel_sizes(spacing, 1)
    apart = (
        ndimage.distance_transform_edt(~pixels(predicted), sampling=size)
        if predicted.any()
        else np.full(truth.shape, np.hypot(*(truth.shape * size)))
    )
    return np.where(pixels(truth), np.where(predicted, apart, -apart), np.nan)


def pixels(mask: Mask) -> Mask:
    """Return the surface of a mask: its pixels that have one of four neighbours outside it."""
    return mask & ~ndimage.binary_erosion(mask)


def _one_pair(predicted: np.ndarray, truth: np.ndarray, spacing: Spacing) -> tuple[float, float]:
    """Return `hd95` and `assd` of two masks (h w), all arguments checked."""
    _check_masks(predicted, truth, "h w")
    (size,) = _pixel_sizes(spacing, 1)
    return _distances(predicted, truth, size)


def _check_masks(predicted: Any, truth: Any, shape: str) -> None:
    """Raise `ValueError` where the masks are not boolean arrays of the same shape, described by `shape`."""
    axes = shape.split()
    for name, masks in (("predicted", predicted), ("truth", truth)):
        fits = isinstance(masks, np.ndarray) and masks.dtype == bool and masks.ndim == len(axes) and masks.size > 0
        if not fits or (axes[-1] == "1" and masks.shape[-1] != 1):
            found = f"{getattr(masks, 'shape', type(masks).__name__)} {getattr(masks, 'dtype', '')}".strip()
            raise ValueError(f"{name} must be a NumPy array ({shape}) of bool with at least one pixel, found {found}")
    if predicted.shape != truth.shape:
        raise ValueError(f"predicted and truth must have one shape, found {predicted.shape} and {truth.shape}")


def _pixel_sizes(spacing: Any, count: int) -> np.ndarray:
    """Return the size of a pixel of each image, (count 2) in mm."""
    sizes = np.asarray(spacing, float)
    if sizes.shape not in ((2,), (count, 2)):
        raise ValueError(f"spacing must be (row, column) or an array ({count}, 2), found shape {sizes.shape}")
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise ValueError(f"spacing must be positive millimetres, found {sizes.min()} to {sizes.max()}")
    return np.broadcast_to(sizes, (count, 2))


def _distances(one: np.ndarray, other: np.ndarray, size: np.ndarray) -> tuple[float, float]:
    """Return `hd95` and `assd` of two masks (h w) with pixels of `size` mm."""
    if not (one.any() and other.any()):
        agree = one.any() == other.any()
        diagonal = float(np.hypot(*(one.shape * size)))
        return (0.0, 0.0) if agree else (diagonal, diagonal)
    sets = _between_surfaces(one, other, size)
    return float(max(np.percentile(distances, PERCENTILE) for distances in sets)), float(np.concatenate(sets).mean())


def _between_surfaces(one: np.ndarray, other: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distances in mm from the surface pixels of `one` to that of `other`, and back. Neither is empty."""
    # Outside the box around both masks all is background, as beyond the border of an image.
    (box,) = ndimage.find_objects((one | other).view(np.uint8))
    here, there = pixels(one[box]), pixels(other[box])
    return (
        ndimage.distance_transform_edt(~there, sampling=size)[here],
        ndimage.distance_transform_edt(~here, sampling=size)[there],
    )
