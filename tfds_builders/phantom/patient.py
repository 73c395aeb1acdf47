"""Who is radiographed: the sizes and positions that make one patient differ from the next.

Lengths are fractions of a nominal frame. `x` runs from the body's midline towards the PATIENT'S LEFT, which
a radiograph shows on the right; `y` runs down from the top of the frame. Sides come as (right, left) pairs.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Lung:
    """One lung field, from its apex down to the angle between ribs and diaphragm."""

    apex_x: float
    apex_y: float
    width: float  # midline to chest wall
    angle_y: float  # the lowest point, at the chest wall
    dome: float  # how far the diaphragm rises above it


@dataclasses.dataclass(frozen=True)
class Heart:
    """A tilted egg."""

    x: float
    y: float
    length: float  # half the long axis, which points to the patient's left and down
    breadth: float
    tilt: float  # radians
    egg: float  # how much blunter the upper end is


@dataclasses.dataclass(frozen=True)
class Clavicle:
    """An S-shaped bar from the breastbone to the shoulder."""

    inner_x: float
    inner_y: float
    outer_x: float
    outer_y: float
    half_width: float
    bow: float


@dataclasses.dataclass(frozen=True)
class Ribs:
    """The ribs of one side."""

    count: int
    first_y: float
    spacing: float
    drop: float  # how far a back rib falls on its way to the chest wall
    half_width: float  # in spacings


@dataclasses.dataclass(frozen=True)
class Lesion:
    """A round shadow in a lung that leaves the lung's outline alone."""

    side: int  # 0 right, 1 left
    depth: float  # 0 at the apex, 1 at the angle
    across: float  # 0 at the midline, 1 at the chest wall
    radius: float
    density: float


@dataclasses.dataclass(frozen=True)
class Patient:
    """All that the drawing needs to know about one patient."""

    lungs: tuple[Lung, Lung]
    heart: Heart
    clavicles: tuple[Clavicle, Clavicle]
    ribs: tuple[Ribs, Ribs]
    lesions: tuple[Lesion, ...]
    mediastinum: float  # half width
    aorta: float  # how far the aortic arch stands out to the left
    torso: float  # half width
    shoulder_slope: float
    bone: float  # mineral density, 1 is usual
    breast: float  # 0 for none
    stomach_air: float  # radius
    tilt: float  # radians
    texture: np.ndarray  # (24, 24) standard normal: mottle and vessels
    warp: np.ndarray  # (2, 5, 5) standard normal: x and y displacements


def draw_patient(rng: np.random.Generator, disease: str) -> Patient:
    """Draw a patient.

    Args:
      rng: the only source of chance.
      disease: 'nodule' or 'tuberculosis', what the sick ones of this population have.

    Raises:
      ValueError: if the disease is unknown.
    """
    u = rng.uniform
    apex_y, angle_y, width = u(0.07, 0.12), u(0.76, 0.88), u(0.34, 0.41)
    rib_count, rib_drop = int(rng.integers(8, 11)), u(0.1, 0.18)
    return Patient(
        lungs=tuple(_lung(rng, apex_y, angle_y, width, higher) for higher in (0.02, 0.0)),
        heart=Heart(u(0.03, 0.075), u(0.57, 0.63), u(0.15, 0.205), u(0.115, 0.145), u(0.35, 0.8), u(0.0, 0.16)),
        clavicles=tuple(_clavicle(rng, apex_y) for _ in range(2)),
        ribs=tuple(_ribs(rng, apex_y, angle_y, rib_count, rib_drop) for _ in range(2)),
        lesions=_lesions(rng, disease),
        mediastinum=u(0.06, 0.085),
        aorta=u(0.01, 0.045),
        torso=width + u(0.03, 0.1),
        shoulder_slope=u(0.2, 0.5),
        bone=u(0.75, 1.25),
        breast=u(0.1, 0.3) * (u() < 0.4),
        stomach_air=u(0.02, 0.05) * (u() < 0.6),
        tilt=u(-0.05, 0.05),
        texture=rng.standard_normal((24, 24)),
        warp=rng.standard_normal((2, 5, 5)),
    )


def _lung(rng: np.random.Generator, apex_y: float, angle_y: float, width: float, higher: float) -> Lung:
    """A lung like its fellow; the liver lifts the right diaphragm by `higher`."""
    u = rng.uniform
    return Lung(
        apex_x=u(0.11, 0.15),
        apex_y=apex_y + u(-0.01, 0.01),
        width=width + u(-0.015, 0.015),
        angle_y=angle_y + u(-0.02, 0.02),
        dome=u(0.11, 0.17) + higher,
    )


def _clavicle(rng: np.random.Generator, apex_y: float) -> Clavicle:
    u = rng.uniform
    inner_y = apex_y + u(0.08, 0.13)
    return Clavicle(u(0.035, 0.06), inner_y, u(0.24, 0.29), inner_y - u(0.04, 0.11), u(0.016, 0.021), u(-0.012, 0.004))


def _ribs(rng: np.random.Generator, apex_y: float, angle_y: float, count: int, drop: float) -> Ribs:
    u = rng.uniform
    return Ribs(
        count=count,
        first_y=apex_y + u(0.0, 0.02),
        spacing=(angle_y - apex_y) / count,
        drop=drop + u(-0.015, 0.015),
        half_width=u(0.17, 0.24),
    )


def _lesions(rng: np.random.Generator, disease: str) -> tuple[Lesion, ...]:
    """Three patients in five have a nodule, or two in five one to five shadows of tuberculosis."""
    u = rng.uniform
    sick = u()
    if disease == "nodule":
        return (Lesion(int(rng.integers(2)), u(0.15, 0.7), u(0.4, 0.85), u(0.012, 0.025), u(0.1, 0.2)),) * (sick < 0.6)
    if disease == "tuberculosis":
        count = rng.integers(1, 6) * (sick < 0.4)
        return tuple(
            Lesion(int(rng.integers(2)), u(0.1, 0.6), u(0.35, 0.85), u(0.03, 0.08), u(0.1, 0.3)) for _ in range(count)
        )
    raise ValueError(f"unknown disease {disease!r}: 'nodule' or 'tuberculosis'")
