"""What masks of lungs, heart and clavicles measure: areas, widths, cardiothoracic ratio."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

Mask = Bool[np.ndarray, "h w"]

LEAST_SHARE = 0.1  # of the lungs' pixels that are those of another lung


def measure(masks: Mapping[str, Mask], spacing: tuple[float, float] | None) -> dict[str, float]:
    """Return the measurements of one image's masks, by organ; what a blank or missing mask leaves open is not there.

    `ORGAN_area_px` and, with the `spacing` (height and width of a pixel in mm), `ORGAN_area_mm2`. `lungs_width` is the
    greatest inner width of the chest, from the outermost pixel of one lung to that of the other, and is not there where
    one lung alone was found; `heart_width` that of the heart's shadow, likewise over all of its rows; both `_px`, and
    `_mm` with the spacing. `cardiothoracic_ratio` is the second over the first.
    """
    found = {}
    for organ, mask in masks.items():
        if mask.any():
            found |= _with_unit(f"{organ}_area", int(mask.sum()), "mm2", spacing and spacing[0] * spacing[1])
    for organ in ("lungs", "heart"):
        if f"{organ}_area_px" in found and (organ == "heart" or on_both_sides(masks[organ], masks.get("heart"))):
            found |= _with_unit(f"{organ}_width", width(masks[organ]), "mm", spacing and spacing[1])
    if "lungs_width_px" in found and "heart_width_px" in found:
        found["cardiothoracic_ratio"] = found["heart_width_px"] / found["lungs_width_px"]
    return found


def on_both_sides(lungs: Mask, heart: Mask | None) -> bool:
    """Tell whether a tenth of the lungs at least is on either side of the heart's middle.

    Without a heart, two connected parts of a tenth at least each are two lungs, wherever in the image they are; lungs
    joined in one part have a tenth at least on either side of the image's middle.
    """
    seen = heart is not None and heart.any()
    if not seen and _second_part(lungs) >= LEAST_SHARE * lungs.sum():
        return True
    columns = np.flatnonzero(heart.any(axis=0)) if seen else np.arange(lungs.shape[1])
    left = lungs[:, : round((columns[0] + columns[-1] + 1) / 2)].sum() / lungs.sum()
    return bool(LEAST_SHARE <= left <= 1 - LEAST_SHARE)


def _second_part(mask: Mask) -> int:
    """Return the pixels of a mask's second largest connected part; 0 where it has one part alone."""
    labels, count = ndimage.label(mask)
    return int(np.sort(np.bincount(labels[mask]))[-2]) if count > 1 else 0


def width(mask: Mask) -> int:
    """Return the columns that a mask spans, from its leftmost to its rightmost pixel; 0 for a blank one."""
    columns = np.flatnonzero(mask.any(axis=0))
    return int(columns[-1] - columns[0] + 1) if len(columns) else 0


def _with_unit(name: str, pixels: int, unit: str, scale: float | None) -> dict[str, float]:
    return {f"{name}_px": pixels} | ({f"{name}_{unit}": pixels * scale} if scale else {})
