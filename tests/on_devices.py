"""A small training as a program of its own, so that a test can choose how many devices and processes it has.

`python -m tests.on_devices STAGE WORKDIR EPOCHS MEMBERS [COORDINATOR PROCESSES PROCESS]`
"""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import optax

from cxr_jax import devices, optimisers, plans, platform, segmentation, transfer
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.datasets import Side
from cxr_jax.plausibility import Shape
from tests import tiny

SIZES = {"segmenter__depth": 1}
RATE = 0.003


def data() -> Radiographs:
    """Return forty images of noise whose bright pixels are the organ."""
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 1), np.uint8)
    return Radiographs("noise", images, (images > 127).astype(np.uint8), tuple(map(str, range(40))))


def pretrain(workdir: Path, epochs: int, members: int) -> None:
    """Train as many segmenters, of different seeds."""
    segmentation.pretrain(
        [_pretraining(tiny.experiment(seed=seed, **SIZES), workdir, epochs) for seed in range(members)]
    )


def transfer_all(workdir: Path, epochs: int, members: int) -> None:
    """Transfer as many segmenters, of different seeds, in both looks and with labels of half of the target's images.

    An epoch is two iterations, of plain gradient descent: Adam makes full steps even of gradients that are nothing but
    what sums are rounded by, and the game of translators and discriminators lets such differences grow tenfold a step.
    """
    optimisers.adam = lambda *_, **__: optax.sgd(RATE)
    experiments = [
        tiny.experiment(seed=seed, label_frac=0.5, transfer__epochs=epochs, transfer__batch_size=16, **SIZES)
        for seed in range(members)
    ]
    graph, trained = segmentation.pretrain([_pretraining(plan, workdir, 1) for plan in experiments])
    images = data()
    side = Side(images[np.arange(32)], images[np.arange(32, 40)])
    jobs = [
        transfer.Job(plan, segmenter.model, side, side, np.arange(32) % 2 == 0, workdir / str(plan.seed))
        for plan, segmenter in zip(experiments, trained, strict=True)
    ]
    transfers = transfer.Transfers(jobs, graph)
    transfers.transfer([warm.state for warm in transfers.warm_up()])


def scanned(workdir: Path, epochs: int, members: int) -> None:
    """Do the same by the program that a GPU runs: epochs that are one `lax.scan` with its state donated."""
    platform.jax = SimpleNamespace(**vars(jax))
    platform.jax.default_backend = lambda: "gpu"
    transfer_all(workdir, epochs, members)


def _pretraining(plan: plans.Experiment, workdir: Path, epochs: int) -> segmentation.Job:
    images = data()
    plan = replace(plan, pretraining=replace(plan.pretraining, epochs=epochs))
    training, shape = images[np.arange(32)], Shape.of(images.masks)
    return segmentation.Job(plan, training, images[np.arange(32, 40)], 24, shape, workdir / str(plan.seed))


STAGES = {"pretraining": pretrain, "transfer": transfer_all, "scanned": scanned}


if __name__ == "__main__":
    stage, folder, *numbers = sys.argv[1:5]
    if sys.argv[5:]:
        devices.join(sys.argv[5], *map(int, sys.argv[6:]))
    STAGES[stage](Path(folder), *map(int, numbers))
