"""The Montgomery County tuberculosis set: radiographs with masks of the left and the right lung."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders import image_files, squares
from tfds_builders.image_files import File
from tfds_builders.manual import manual_folder

NORMAL, TUBERCULOSIS = 80, 58
SIDES = ("left", "right")
STEM = r"(MCUCXR_\d{4}_[01])"


@dataclass
class MontgomeryConfig(tfds.core.BuilderConfig):
    """Side of the prepared square images, in pixels."""

    size: int = 256


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of Montgomery."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        MontgomeryConfig(name="256", size=256, description="256x256, the paper's size"),
        MontgomeryConfig(name="512", size=512, description="512x512"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
The manual directory must hold the set as the U.S. National Library of Medicine publishes it
("Tuberculosis Chest X-ray Image Data Sets", https://lhncbc.nlm.nih.gov/LHC-downloads/dataset.html),
unpacked or as its zip (https://openi.nlm.nih.gov/imgs/collections/NLM-MontgomeryCXRSet.zip):
  MontgomerySet/CXR_png/MCUCXR_0001_0.png, ...                the 138 radiographs
  MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png, ...    the 138 masks of the left lung
  MontgomerySet/ManualMask/rightMask/MCUCXR_0001_0.png, ...   the 138 masks of the right lung"""

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": picture,
                    **{f"{side}_lung": picture for side in SIDES},
                    "tuberculosis": np.bool_,
                }
            ),
            homepage="https://lhncbc.nlm.nih.gov/LHC-downloads/dataset.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = manual_folder(dl_manager)
        files = image_files.find_files(folder)
        images = find_images(files)
        require_images(images, folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        masks = find_masks(files)
        expected = [mask_path(stem, side) for stem in images for side in SIDES]
        image_files.require(masks, expected, "masks", folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        return {"train": self._generate_examples(images, masks)}

    def _generate_examples(
        self, images: dict[str, File], masks: dict[str, File]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.builder_config.size
        for stem, file in images.items():
            image = image_files.read_radiograph(file)
            example = {
                "id": stem,
                "image": squares.square_radiograph(image, size),
                "tuberculosis": has_tuberculosis(stem),
            }
            for side in SIDES:
                mask = image_files.read_mask(masks[mask_path(stem, side)], image.shape)
                example[f"{side}_lung"] = squares.square_mask(mask, size)
            yield stem, example


def has_tuberculosis(stem: str) -> bool:
    """Return whether a radiograph shows tuberculosis, which its name says."""
    return stem.endswith("_1")


def mask_path(stem: str, side: str) -> str:
    """Return the path of a lung's mask in the published folder."""
    return f"MontgomerySet/ManualMask/{side}Mask/{stem}.png"


def find_images(files: dict[str, File]) -> dict[str, File]:
    """Return stem -> radiograph."""
    found = image_files.match(files, rf"CXR_png/{STEM}\.png")
    return {stem.upper(): file for (stem,), file in sorted(found.items())}


def find_masks(files: dict[str, File]) -> dict[str, File]:
    """Return path in the published folder -> mask."""
    found = image_files.match(files, rf"ManualMask/({'|'.join(SIDES)})Mask/{STEM}\.png")
    return {mask_path(stem.upper(), side.lower()): file for (side, stem), file in found.items()}


def require_images(images: dict[str, File], folder: Path, instructions: str) -> None:
    """Raise `FileNotFoundError` unless there are as many radiographs, normal and not, as were published."""
    ill = sum(map(has_tuberculosis, images))
    if (len(images) - ill, ill) != (NORMAL, TUBERCULOSIS):
        raise FileNotFoundError(
            f"{folder}: expected {NORMAL + TUBERCULOSIS} radiographs MontgomerySet/CXR_png/MCUCXR_*.png "
            f"({NORMAL} normal, {TUBERCULOSIS} with tuberculosis), found {len(images)} "
            f"({len(images) - ill} normal, {ill} with tuberculosis).\n{instructions}"
        )
