"""A small training as a program of its own, so that a test can choose how many devices and processes it has.

`python -m tests.on_devices WORKDIR EPOCHS MEMBERS [COORDINATOR PROCESSES PROCESS]`
"""

import sys
from pathlib import Path

import numpy as np

from cxr_jax import devices, segmentation
from cxr_jax.data.radiographs import Radiographs
from tests import tiny


def data() -> Radiographs:
    """Return forty images of noise whose bright pixels are the organ."""
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 1), np.uint8)
    return Radiographs("noise", images, (images > 127).astype(np.uint8), tuple(map(str, range(40))))


def main(workdir: Path, epochs: int, members: int) -> None:
    """Train as many segmenters, of different seeds."""
    plans = [tiny.experiment(seed=seed, pretraining__epochs=epochs, segmenter__depth=1) for seed in range(members)]
    images = data()[np.arange(32)], data()[np.arange(32, 40)]
    segmentation.pretrain([segmentation.Job(plan, *images, 24, workdir / str(plan.seed)) for plan in plans])


if __name__ == "__main__":
    folder, *numbers = sys.argv[1:4]
    if sys.argv[4:]:
        devices.join(sys.argv[4], *map(int, sys.argv[5:]))
    main(Path(folder), *map(int, numbers))
