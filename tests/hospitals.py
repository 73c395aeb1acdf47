"""Folders of radiographs, as a hospital may have them, for tests: drawn by hand, or of phantoms."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_jax.data import prepared
from tfds_builders.radiograph_folder import folder as folders
from tfds_builders.radiograph_folder.folder import FolderError

STEMS = [f"patient_{number:02}" for number in range(6)]
LUNGS = ("left_lung", "right_lung")
LEFT, RIGHT = (f"masks/{lung}" for lung in LUNGS)


def make(root: Path) -> Path:
    """Make a folder with six radiographs, their masks of both lungs, and whose they are; return it."""
    for number, stem in enumerate(STEMS):
        save(root / f"images/{stem}.png", gradient() + np.uint8(number))
        for side, columns in ((LEFT, slice(24, 36)), (RIGHT, slice(4, 16))):
            save(root / side / f"{stem}.png", drawing(columns))
    write_patients(root, {stem: stem for stem in STEMS})
    return root


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def gradient():
    return np.tile(np.arange(40, dtype=np.uint8) * 5, (50, 1))


def drawing(columns):
    mask = np.zeros((50, 40), np.uint8)
    mask[10:40, columns] = 255
    return mask


def write_patients(root, patients, separator=",", head="image,patient", encoding="utf-8"):
    lines = [head.replace(",", separator), *(f"{image}{separator}{who}" for image, who in patients.items())]
    (root / "patients.csv").write_text("\n".join(lines) + "\n", encoding=encoding)


def assert_refused(root, *messages):
    with pytest.raises(FolderError) as caught:
        folders.read(root)
    for message in messages:
        assert message in str(caught.value)
    assert f"{len(messages)} fault" in str(caught.value)
    assert "Expected is a folder like this" in str(caught.value)


def of_phantoms(
    folder: Path,
    tfds_dir: str,
    count: int = 20,
    masks: tuple[str, ...] = (),
    patients: int = 0,
    unmasked: range = range(0),
) -> Path:
    """Fill a folder with images of phantom scanner b, on demand with masks (but of the `unmasked`) and patients."""
    rows = prepared.prepare("phantom/b", tfds_dir, None).as_data_source(split="train")
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
