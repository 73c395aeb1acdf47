"""How strongly the body stops X-rays: one number a point, the sum of what the ray passes through.

The unit is what the soft tissue of an ordinary chest stops: air is 0, a lung about 0.4, the middle about 1.5.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from tfds_builders.phantom import anatomy
from tfds_builders.phantom.patient import Lung, Patient, Ribs


def attenuation(
    patient: Patient, masks: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, pixel: float
) -> np.ndarray:
    """The attenuation image, (h, w) and not negative, before any scanner sees it.

    Args:
      patient: whose.
      masks: the patient's structures at these points, from `anatomy.masks`.
      x: (h, w) distance from the midline, towards the patient's left.
      y: (h, w) distance from the top.
      pixel: the distance between two neighbouring points.
    """
    lungs = masks["left_lung"] | masks["right_lung"]
    cavity = _thickness(lungs, 0.05, pixel)
    flesh = _flesh(patient, x, y)
    below = _below(patient, x, y)
    middle = masks["heart"] | anatomy.inside_mediastinum(patient, x, y)
    solid = np.maximum(0.45 * _thickness(middle, 0.045, pixel), 0.6 * _edge(below, 0.006, pixel))
    soft = solid - 0.2 * _windpipe(x, y) - _stomach_air(patient, x, y)
    clavicles = _edge(masks["left_clavicle"] | masks["right_clavicle"], 0.004, pixel)
    bones = _rib_cage(patient, x, y) + 0.14 * _spine(x, y) + _shoulders(x, y) + 0.2 * clavicles
    inside = flesh * (1 + soft - 0.55 * cavity) + cavity * (_vessels(patient, x, y) + _lesions(patient, x, y))
    return np.maximum(inside + patient.bone * bones * np.minimum(flesh * 2, 1), 0)


def _edge(mask: np.ndarray, width: float, pixel: float) -> np.ndarray:
    """A mask with an edge that fades over about twice `width`."""
    return ndimage.gaussian_filter(mask.astype(np.float32), width / pixel)


def _thickness(mask: np.ndarray, depth: float, pixel: float) -> np.ndarray:
    """A body seen through: 0 at its outline, rounding up to 1 at `depth` within it."""
    rim = 1 - np.minimum(ndimage.distance_transform_edt(mask) * (pixel / depth), 1)
    return _edge(np.sqrt(1 - rim**2), 0.003, pixel)


def _flesh(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Soft tissue with its breasts, thin at the skin."""
    depth = np.maximum(anatomy.inside_body(patient, x, y), 0)
    breast = np.exp(-(((np.abs(x) - 0.24) / 0.14) ** 4) - ((y - 0.68) / 0.13) ** 4)
    mottle = 0.015 * anatomy.smooth_field(patient.texture, x, y)
    return (1 - np.exp(-depth / 0.05)) * (1 + patient.breast * breast + mottle)


def _below(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What lies under the diaphragm, between the chest walls."""
    right, left = (
        (y > anatomy.diaphragm(lung, side * x)) & (side * x < lung.width + 0.02) & (side * x >= 0)
        for side, lung in zip(anatomy.SIDES, patient.lungs, strict=True)
    )
    return right | left


def _stomach_air(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The bubble under the left diaphragm."""
    if not patient.stomach_air:
        return np.zeros_like(x)
    lung = patient.lungs[1]
    top = lung.angle_y - lung.dome + 0.03 + patient.stomach_air
    return 0.25 * np.exp(-(((((x - 0.18) / 1.5) ** 2 + (y - top) ** 2) / patient.stomach_air**2) ** 2))


def _windpipe(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-((x / 0.022) ** 4)) * expit((0.36 - y) / 0.02)


def _spine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A column of vertebrae, whose discs let more through."""
    discs = 0.5 + 0.5 * np.tanh(3 * np.cos(2 * np.pi * y / 0.055) + 2)
    return np.exp(-((x / 0.036) ** 6)) * (0.6 + 0.4 * discs)


def _shoulders(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The heads of the upper arms and the shoulder blades."""
    out = np.abs(x)
    head = np.exp(-((((out - 0.47) / 0.065) ** 2 + ((y - 0.2) / 0.07) ** 2) ** 3))
    blade_middle = 0.37 + 0.12 * (0.2 - y)
    blade = np.exp(-(((out - blade_middle) / 0.045) ** 4) - ((y - 0.27) / 0.14) ** 4)
    return 0.18 * head + 0.07 * blade


def _rib_cage(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    sides = (
        _ribs(ribs, lung, side * x, y) * (side * x > 0)
        for side, ribs, lung in zip(anatomy.SIDES, patient.ribs, patient.lungs, strict=True)
    )
    return sum(sides)


def _ribs(ribs: Ribs, lung: Lung, out: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Back ribs, which fall towards the chest wall, and fainter front ribs, which fall towards the middle."""
    s = np.clip(out / lung.width, 0, 1.1)
    back = y - ribs.first_y - ribs.drop * (1.3 * s**3 - 0.5 * s)
    front = y - ribs.first_y - ribs.drop * (1.8 - 1.2 * s**2)
    wall = expit((anatomy.lateral_edge(lung, y) + 0.012 - out) / 0.006)
    off_spine = expit((out - 0.16) / 0.02)
    return wall * (0.13 * _tubes(ribs, back) + 0.07 * _tubes(ribs, front) * off_spine)


def _tubes(ribs: Ribs, along: np.ndarray) -> np.ndarray:
    """Hollow tubes at every spacing from 0 to the last rib: 1 at their rims, less in their middles."""
    turn = along / ribs.spacing
    number = np.round(turn)
    off = np.abs(turn - number) / ribs.half_width
    tube = np.exp(-(off**4)) * (0.65 + 0.35 * np.minimum(off, 1) ** 2)
    return tube * ((number >= 0) & (number < ribs.count))


def _vessels(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Vessels that fan out from the roots of the lungs and thin out towards the chest wall."""
    out = np.maximum(np.abs(x) - 0.06, 0)
    radius = np.hypot(out, y - 0.45)
    angle = np.arctan2(y - 0.45, out) + 0.8 * radius
    fan = anatomy.smooth_field(patient.texture, 0.3 * np.sign(x) + 0.25 * radius, 0.5 + 0.36 * angle)
    return np.exp(-radius / 0.12) * (0.14 + 0.12 * np.maximum(fan, -1))


def _lesions(patient: Patient, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Round shadows, patchy where they are large."""
    patchy = 1 + 0.5 * np.tanh(anatomy.smooth_field(patient.texture, 0.5 * x, 0.5 * y))
    shadow = np.zeros_like(x)
    for lesion in patient.lesions:
        lung = patient.lungs[lesion.side]
        centre_y = lung.apex_y + lesion.depth * (lung.angle_y - lung.apex_y)
        centre_x = anatomy.SIDES[lesion.side] * lesion.across * lung.width
        blob = np.exp(-(((x - centre_x) ** 2 + (y - centre_y) ** 2) / lesion.radius**2))
        shadow = shadow + lesion.density * blob
    return shadow * patchy
