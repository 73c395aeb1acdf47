"""One phantom radiograph from three numbers: seed, scanner and index."""

import numpy as np

from tfds_builders.phantom import anatomy, scanner
from tfds_builders.phantom.attenuation import attenuation
from tfds_builders.phantom.patient import draw_patient


def phantom(name: str, size: int, seed: int, index: int) -> dict[str, np.ndarray]:
    """Render image `index` of a scanner.

    Patient and framing depend on `seed`, `name` and `index` alone: another `size` shows the same ones.

    Args:
      name: 'a' or 'b', a key of `scanner.SCANNERS`.
      size: side in pixels.
      seed: of the whole dataset, not negative.
      index: of the image, not negative.

    Returns:
      (size, size) uint8 arrays: `image`, and a 0/1 mask for each of `anatomy.STRUCTURES`.

    Raises:
      KeyError: if there is no such scanner.
    """
    machine = scanner.SCANNERS[name]
    streams = np.random.default_rng([seed, index, ord(name)]).spawn(3)
    patient = draw_patient(streams[0], machine.disease)
    exposure = scanner.draw_exposure(streams[1], machine)
    across, down = scanner.frame(exposure, size)
    x, y = anatomy.bend(patient, *scanner.patient_points(exposure, across, down))
    masks = anatomy.masks(patient, x, y)
    pixel = exposure.view_y / (exposure.bottom - exposure.top) / size
    thick = attenuation(patient, masks, x, y, pixel)
    exposed = scanner.exposed(across, down)
    return {
        "image": scanner.expose(exposure, thick, across, down, streams[2]),
        **{structure: (mask & exposed).astype(np.uint8) for structure, mask in masks.items()},
    }
