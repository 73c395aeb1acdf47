"""Whether a mask can be an organ, told without its label: its size, parts and place are those of the source's masks."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy import ndimage

AREA_SLACK = 2.0  # times smaller than the least of the source's, or larger than the largest, a part may be
PLACE_SLACK = 0.15  # of the image's side, by which a part's centre may lie outside of where the source's are
CRUMBS = 0.1  # of the area may lie in further parts, and smaller ones are none

Masks = Bool[np.ndarray, "n h w 1"] | UInt8[np.ndarray, "n h w 1"]
Mask = Bool[np.ndarray, "h w"] | UInt8[np.ndarray, "h w"]


@dataclass(frozen=True)
class Shape:
    """What an organ's masks look like: the range of each part's area and centre, parts ordered from left to right.

    Areas are shares of the image, centres (y, x) shares of its height and width.
    """

    areas: tuple[Float[np.ndarray, " parts"], Float[np.ndarray, " parts"]]
    centres: tuple[Float[np.ndarray, "parts 2"], Float[np.ndarray, "parts 2"]]

    @classmethod
    def of(cls, masks: Masks) -> "Shape":
        """Measure masks, those that are in as many parts as most are; crumbs do not count as parts."""
        counts = np.array([_count(mask[..., 0]) for mask in masks])
        if not counts.any():
            raise ValueError("expected masks of an organ, found blank ones")
        parts = int(np.bincount(counts[counts > 0]).argmax())
        typical = [_parts(mask[..., 0], parts) for mask in masks[counts == parts]]
        areas, centres = (np.stack(values) for values in zip(*typical, strict=True))
        return cls((areas.min(axis=0), areas.max(axis=0)), (centres.min(axis=0), centres.max(axis=0)))

    @classmethod
    def parse(cls, plain: Any) -> "Shape":
        """Return the shape that `plain` says; raise `ValueError` where it says something else."""
        try:
            areas, centres = (np.asarray(plain[name], float) for name in ("areas", "centres"))
        except (TypeError, KeyError) as error:
            raise ValueError(f"expected areas and centres of an organ's parts, found {plain!r}") from error
        if areas.ndim != 2 or areas.shape[0] != 2 or centres.shape != (*areas.shape, 2):
            raise ValueError(
                f"expected areas (2, parts) and centres (2, parts, 2), found {areas.shape}, {centres.shape}"
            )
        return cls(tuple(areas), tuple(centres))

    def plain(self) -> dict[str, list]:
        """Return it as lists of numbers, the least and the largest of each part."""
        return {"areas": np.array(self.areas).tolist(), "centres": np.array(self.centres).tolist()}

    @property
    def parts(self) -> int:
        """The number of parts."""
        return len(self.areas[0])

    def plausible(self, masks: Masks) -> Bool[np.ndarray, " n"]:
        """Tell which masks have all parts of the organ, each of a sane area in a sane place, and little else."""
        return np.array([self._plausible(mask[..., 0]) for mask in masks])

    def _plausible(self, mask: Mask) -> bool:
        areas, centres = _parts(mask, self.parts)
        if len(areas) < self.parts:
            return False
        large = (areas >= self.areas[0] / AREA_SLACK) & (areas <= self.areas[1] * AREA_SLACK)
        placed = (centres >= self.centres[0] - PLACE_SLACK) & (centres <= self.centres[1] + PLACE_SLACK)
        return bool(large.all() and placed.all() and areas.sum() >= (1 - CRUMBS) * mask.mean())


def _count(mask: Mask) -> int:
    """Return the number of parts of a mask that are no crumbs; 0 of a blank one."""
    labels, _ = ndimage.label(mask)
    return int((np.bincount(labels.ravel())[1:] >= CRUMBS * np.count_nonzero(mask)).sum())


def _parts(mask: Mask, count: int) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k 2"]]:
    """Return areas and centres of the `count` largest parts, or of as many as there are, from left to right."""
    labels, found = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=found + 1)[1:]
    largest = np.argsort(areas, kind="stable")[::-1][:count]
    centres = np.array(ndimage.center_of_mass(mask, labels, largest + 1)).reshape(-1, 2) / mask.shape
    order = np.argsort(centres[:, 1])
    return areas[largest][order] / mask.size, centres[order]
