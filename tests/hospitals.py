"""A folder of radiographs, as a hospital may have it, for tests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfds_builders.radiograph_folder import folder as folders
from tfds_builders.radiograph_folder.folder import FolderError

STEMS = [f"patient_{number:02}" for number in range(6)]
LEFT, RIGHT = "masks/left_lung", "masks/right_lung"


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
