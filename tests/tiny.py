"""The smallest experiment that has every part, and the smallest hospital."""

from pathlib import Path

import numpy as np
from PIL import Image

from configs import transfer
from cxr_jax import config, plans
from cxr_jax.data import radiographs

TRANSLATOR_SIZES = {
    "munit": {"width": 4, "blocks": 1, "mlp": 8},
    "munit_dataset_style": {"width": 4, "blocks": 1, "mlp": 8},
    "unit": {"width": 4, "blocks": 1},
    "cyclegan": {"width": 4, "blocks": 1},
}


def experiment(**changes) -> plans.Experiment:
    """Return transfer and self-training at 32x32, two epochs a stage, with `changes` such as `transfer__epochs=3`."""
    plain = transfer.get_config("phantom")
    plain.image_size = 32
    plain.segmenter.update(width=8, depth=2)
    for name, sizes in TRANSLATOR_SIZES.items():
        plain[name].update(sizes)
    plain.cyclegan.image_pool = 20
    plain.discriminator.width = 4
    plain.pretraining.update(epochs=2, batch_size=16)
    plain.transfer.update(warmup_epochs=1, epochs=2, batch_size=16)
    plain.transfer.convergence.restarts = 0
    plain.self_training.update(epochs=2, batch_size=16, average=0.9)
    plain.adaptation.update(epochs=3, batch_size=16)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = plain
        for name in parents:
            section = section[name]
        section[last] = value
    return config.parse(plain)


LUNGS = ("left_lung", "right_lung")


def hospital(
    folder: Path,
    tfds_dir: str,
    count: int = 20,
    masks: tuple[str, ...] = (),
    patients: int = 0,
    unmasked: range = range(0),
) -> Path:
    """Fill a folder with images of phantom scanner b, on demand with masks (but of the `unmasked`) and patients."""
    rows = radiographs.prepare("phantom/b", tfds_dir, None).as_data_source(split="train")
    for index in range(count):
        row = rows[index]
        parts = () if index in unmasked else masks
        for name, part, factor in (("images", "image", 1), *((f"masks/{mask}", mask, 255) for mask in parts)):
            path = folder / name / f"{row['id'].decode()}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(row[part][..., 0] * np.uint8(factor)).save(path)
    if patients:
        lines = [f"{path.name},{index % patients}" for index, path in enumerate(sorted(folder.glob("images/*")))]
        (folder / "patients.csv").write_text("\n".join(["image,patient", *lines]))
    return folder
