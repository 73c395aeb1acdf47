"""Where the organs are: exact masks of one patient, tested point by point.

A mask is a formula of `x` and `y` alone (see `patient`), so it is the same anatomy at any resolution.
"""

import math

import numpy as np
from scipy import ndimage
from scipy.special import expit

from tfds_builders.phantom.patient import Clavicle, Heart, Lung, Patient

STRUCTURES = ("left_lung", "right_lung", "left_clavicle", "right_clavicle", "heart")
SIDES = (-1, 1)  # right, left


def masks(patient: Patient, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The five structures, named as in STRUCTURES, as boolean arrays.

    As in the SCR annotations of JSRT, a lung field leaves out the heart, the mediastinum and what lies under
    the diaphragm, and a clavicle overlaps the lungs' tops.

    Args:
      patient: whose.
      x: (h, w) distance from the midline, towards the patient's left.
      y: (h, w) distance from the top.
    """
    heart = inside_heart(patient.heart, x, y)
    free = ~heart & ~inside_mediastinum(patient, x, y)
    right_lung, left_lung = (
        inside_lung(lung, side * x, y) & free for side, lung in zip(SIDES, patient.lungs, strict=True)
    )
    right_clavicle, left_clavicle = (
        inside_clavicle(bone, side * x, y) for side, bone in zip(SIDES, patient.clavicles, strict=True)
    )
    return {
        "left_lung": left_lung,
        "right_lung": right_lung,
        "left_clavicle": left_clavicle,
        "right_clavicle": right_clavicle,
        "heart": heart,
    }


def bend(patient: Patient, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the upright, symmetric plan under the points of the tilted, crooked patient, both (h, w)."""
    cos, sin = math.cos(patient.tilt), math.sin(patient.tilt)
    x, y = cos * x + sin * (y - 0.5), cos * (y - 0.5) - sin * x + 0.5
    dx, dy = (0.007 * smooth_field(grid, x, y) for grid in patient.warp)
    return x + dx, y + dy


def smooth_field(grid: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square grid's values, laid over x in [-0.6, 0.6], y in [-0.1, 1.1], smooth between its nodes."""
    nodes = len(grid) - 1
    at = np.stack([(y + 0.1) / 1.2 * nodes, (x + 0.6) / 1.2 * nodes])
    return ndimage.map_coordinates(grid.astype(np.float32), at, order=3, mode="mirror")


def lateral_edge(lung: Lung, y: np.ndarray) -> np.ndarray:
    """How far out the chest wall is at the height `y`."""
    t = lung_depth(lung, y)
    return lung.apex_x + (lung.width - lung.apex_x) * (1 - (1 - t) ** 2.4) ** 0.6


def lung_depth(lung: Lung, y: np.ndarray) -> np.ndarray:
    """0 at the lung's apex, 1 at its angle, held there beyond them."""
    return np.clip((y - lung.apex_y) / (lung.angle_y - lung.apex_y), 0, 1)


def diaphragm(lung: Lung, out: np.ndarray) -> np.ndarray:
    """The height `y` of the diaphragm at the distance `out` from the midline."""
    top = 0.42 * lung.width
    outer = np.clip((out - top) / (lung.width - top), 0, 1)
    inner = np.clip((top - out) / top, 0, 1)
    return lung.angle_y - lung.dome * ((1 - outer**2.2) ** 0.7 - 0.35 * inner**2)


def inside_lung(lung: Lung, out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """One lung's cage, before heart and mediastinum are taken out of it; `out` is positive on its side."""
    t = lung_depth(lung, y)
    round_top = np.sqrt(1 - (1 - np.clip(t / 0.14, 0, 1)) ** 2)
    medial = lung.apex_x - (lung.apex_x - 0.03) * round_top
    return (y > lung.apex_y) & (out > medial) & (out < lateral_edge(lung, y)) & (y < diaphragm(lung, out))


def inside_heart(heart: Heart, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A tilted ellipse, blunter towards its upper right end."""
    cos, sin = math.cos(heart.tilt), math.sin(heart.tilt)
    along = (cos * (x - heart.x) + sin * (y - heart.y)) / heart.length
    across = (cos * (y - heart.y) - sin * (x - heart.x)) / (heart.breadth * (1 - heart.egg * along))
    return along**2 + np.abs(across) ** 2.3 < 1


def inside_mediastinum(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The band of vessels and airways between the lungs, and what fills the gap from heart to diaphragm.

    The aortic arch stands out on the patient's left.
    """
    arch = patient.aorta * np.exp(-(((y - 0.31) / 0.045) ** 2))
    trunk = 0.03 * np.exp(-(((y - 0.43) / 0.06) ** 2))
    flare = 0.02 * np.clip((y - 0.6) / 0.2, 0, 1)
    left = patient.mediastinum + arch + trunk + flare
    right = patient.mediastinum + 0.6 * trunk + flare
    below_heart = (y > patient.heart.y) & inside_heart(patient.heart, x, y - 0.05)
    return (x < left) & (x > -right) | below_heart


def inside_clavicle(bone: Clavicle, out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An S-shaped bar, thickest at the breastbone; `out` is positive on its side."""
    t = (out - bone.inner_x) / (bone.outer_x - bone.inner_x)
    middle = bone.inner_y + t * (bone.outer_y - bone.inner_y) + bone.bow * np.sin(2 * np.pi * t)
    ends = np.sqrt(1 - np.clip(np.abs(2 * t - 1), 0, 1) ** 8)
    half = bone.half_width * (1 + 0.6 * np.exp(-((t / 0.25) ** 2))) * ends
    return np.abs(y - middle) < half


def inside_body(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How deep a point lies under the skin, negative outside (a length, exact only near straight edges)."""
    out = np.abs(x)
    shoulder = patient.shoulder_slope * np.maximum(out - 0.13, 0) ** 1.2 - 0.03
    neck = np.where(y < shoulder, 0.13 - out, np.inf)
    side = patient.torso + 0.09 * expit((0.4 - y) / 0.035) - out
    return np.minimum(np.maximum(y - shoulder, neck), side)
