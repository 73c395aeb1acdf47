"""How a scanner shows a patient: its framing, contrast curve, blur, noise and markers."""

import dataclasses
import math

import numpy as np
from scipy import ndimage

GLYPHS = {
    "R": ("###.", "#..#", "###.", "#.#.", "#..#"),
    "PA": ("##...#.", "#.#.#.#", "##..###", "#...#.#", "#...#.#"),
}

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Scanner:
    """A scanner; a pair of numbers is the range from which each image draws its own value."""

    disease: str  # of the population it serves, see `patient.draw_patient`
    border: Range  # black frame on each side, in fractions of the image
    view: Range  # width and height of the exposed part, in the patient's lengths
    stretch: Range  # width of the view over its height, 1 where the patient keeps its proportions
    shift: Range  # of the patient in the view, each way
    base: Range  # the grey of air
    saturation: Range  # how fast thick parts reach white: larger flattens them and brightens the lungs
    gamma: Range  # power applied last: larger darkens
    heel: Range  # exposure's change from one edge to the other, each way
    blur: Range  # standard deviation, in fractions of the image
    noise: Range  # standard deviation, of a white of 1
    labels: bool  # black label blocks in the upper corners, or white lead letters


SCANNERS = {
    "a": Scanner(
        disease="nodule",
        border=(0.0, 0.0),
        view=(0.97, 1.07),
        stretch=(0.98, 1.02),
        shift=(-0.02, 0.02),
        base=(0.3, 0.4),
        saturation=(1.7, 2.2),
        gamma=(0.9, 1.1),
        heel=(-0.03, 0.03),
        blur=(0.002, 0.003),
        noise=(0.004, 0.008),
        labels=True,
    ),
    "b": Scanner(
        disease="tuberculosis",
        border=(0.01, 0.1),
        view=(1.0, 1.1),
        stretch=(0.95, 1.12),
        shift=(-0.03, 0.03),
        base=(0.0, 0.01),
        saturation=(0.6, 1.0),
        gamma=(2.3, 3.1),
        heel=(-0.12, 0.12),
        blur=(0.003, 0.005),
        noise=(0.008, 0.016),
        labels=False,
    ),
}


@dataclasses.dataclass(frozen=True)
class Exposure:
    """One image's values out of a scanner's ranges."""

    left: float
    right: float
    top: float
    bottom: float
    view_x: float
    view_y: float
    shift_x: float
    shift_y: float
    base: float
    saturation: float
    gamma: float
    heel_x: float
    heel_y: float
    blur: float
    noise: float
    labels: bool


def draw_exposure(rng: np.random.Generator, scanner: Scanner) -> Exposure:
    """Draw one exposure; `rng` is the only source of chance."""
    left, right, top, bottom = rng.uniform(*scanner.border, 4).tolist()
    view, stretch = rng.uniform(*scanner.view), math.sqrt(rng.uniform(*scanner.stretch))
    shift_x, shift_y = rng.uniform(*scanner.shift, 2).tolist()
    heel_x, heel_y = rng.uniform(*scanner.heel, 2).tolist()
    return Exposure(
        left=left,
        right=1 - right,
        top=top,
        bottom=1 - bottom,
        view_x=view * stretch,
        view_y=view / stretch,
        shift_x=shift_x,
        shift_y=shift_y,
        base=rng.uniform(*scanner.base),
        saturation=rng.uniform(*scanner.saturation),
        gamma=rng.uniform(*scanner.gamma),
        heel_x=heel_x,
        heel_y=heel_y,
        blur=rng.uniform(*scanner.blur),
        noise=rng.uniform(*scanner.noise),
        labels=scanner.labels,
    )


def frame(exposure: Exposure, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Where pixel centres lie in the exposed part, 0 to 1 within it: (size, size) arrays across and down."""
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    across = (centre - exposure.left) / (exposure.right - exposure.left)
    down = (centre - exposure.top) / (exposure.bottom - exposure.top)
    return np.meshgrid(across, down)


def exposed(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Which points of the frame are not its black border."""
    return (across > 0) & (across < 1) & (down > 0) & (down < 1)


def patient_points(exposure: Exposure, across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The patient's x and y under points of the frame."""
    x = (across - 0.5) * exposure.view_x + exposure.shift_x
    return x, (down - 0.5) * exposure.view_y + 0.5 + exposure.shift_y


def expose(
    exposure: Exposure,
    attenuation: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The radiograph of an attenuation image.

    Args:
      exposure: the scanner's settings.
      attenuation: (h, w), not negative.
      across: (h, w) position in the exposed part.
      down: (h, w) position in the exposed part.
      rng: for the noise alone.

    Returns:
      (h, w) uint8, bones bright.
    """
    size = len(attenuation)
    heel = 1 + exposure.heel_x * (across - 0.5) + exposure.heel_y * (down - 0.5)
    thick = ndimage.gaussian_filter(attenuation, exposure.blur * size) * heel
    white = 1 - math.exp(-1.6 * exposure.saturation)
    grey = np.minimum((1 - np.exp(-exposure.saturation * thick)) / white, 1) ** exposure.gamma
    grey = exposure.base + (1 - exposure.base) * grey
    grey = grey + exposure.noise * ndimage.gaussian_filter(rng.standard_normal(grey.shape, np.float32), 0.5) / 0.6
    (_labels if exposure.labels else _letters)(grey, across, down)
    return np.where(exposed(across, down), np.clip(grey * 255 + 0.5, 0, 255), 0).astype(np.uint8)


def _labels(grey: np.ndarray, across: np.ndarray, down: np.ndarray) -> None:
    """Black blocks in the upper corners, where the names were."""
    grey[(down < 0.08) & ((across < 0.14) | (across > 0.88))] = 0


def _letters(grey: np.ndarray, across: np.ndarray, down: np.ndarray) -> None:
    """A white R at the patient's right shoulder and a white plate that says PA at the left one."""
    grey[(across > 0.8) & (across < 0.93) & (down > 0.03) & (down < 0.1)] = 1
    grey[_glyph("PA", (across - 0.82) / 0.09, (down - 0.045) / 0.04)] = 0
    grey[_glyph("R", (across - 0.1) / 0.04, (down - 0.04) / 0.06)] = 0.9


def _glyph(text: str, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The text's ink in the unit square."""
    ink = np.array([[c == "#" for c in row] for row in GLYPHS[text]])
    inside = (across >= 0) & (across < 1) & (down >= 0) & (down < 1)
    row, column = (np.clip((at * n).astype(int), 0, n - 1) for at, n in zip((down, across), ink.shape, strict=True))
    return inside & ink[row, column]
