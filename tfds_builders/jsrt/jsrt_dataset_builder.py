"""JSRT radiographs with the SCR database's masks of lungs, heart and clavicles."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from tfds_builders import image_files, squares
from tfds_builders.image_files import TWELVE_BITS, DownloadError, File
from tfds_builders.manual import manual_folder

WITH_NODULE, WITHOUT_NODULE = 154, 93
IMG_SIDE, MASK_SIDE = 2048, 1024
STRUCTURES = ("left lung", "right lung", "left clavicle", "right clavicle", "heart")


@dataclass
class JsrtConfig(tfds.core.BuilderConfig):
    """Side of the prepared square images, in pixels."""

    size: int = 256


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of JSRT."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        JsrtConfig(name="256", size=256, description="256x256, the paper's size"),
        JsrtConfig(name="512", size=512, description="512x512"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """\
The manual directory must hold the radiographs and their masks, unpacked or as the zips they come in:
  All247images/JPCLN001.IMG ... JPCLN154.IMG, JPCNN001.IMG ... JPCNN093.IMG
      the 247 radiographs, from the Japanese Society of Radiological Technology, http://db.jsrt.or.jp/eng.php
      (All247images.zip). Square PNG copies of 8 or 16 bits, bones bright, are read too.
  scratch/fold1/masks/heart/JPCLN001.gif, scratch/fold2/masks/heart/JPCLN002.gif, ...
      the 5 x 247 masks (heart, left lung, right lung, left clavicle, right clavicle; odd numbers in fold1,
      even ones in fold2) of the SCR database, from https://zenodo.org/record/7056076 or
      https://www.isi.uu.nl/Research/Databases/SCR/ (scratch.zip or scratch.tar.gz)."""

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": picture,
                    **{_feature(structure): picture for structure in STRUCTURES},
                    "nodule": np.bool_,
                    "scr_fold": np.int32,
                }
            ),
            homepage="http://db.jsrt.or.jp/eng.php",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = manual_folder(dl_manager)
        files = image_files.find_files(folder)
        images = find_images(files)
        image_files.require(images, stems(), "radiographs", folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        masks = find_masks(files)
        expected = [mask_path(stem, structure) for stem in stems() for structure in STRUCTURES]
        image_files.require(masks, expected, "masks", folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS)
        return {"train": self._generate_examples(images, masks)}

    def _generate_examples(
        self, images: dict[str, File], masks: dict[str, File]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.builder_config.size
        for stem in stems():
            example = {
                "id": stem,
                "image": squares.square_radiograph(read_image(images[stem]), size),
                "nodule": stem.startswith("JPCLN"),
                "scr_fold": scr_fold(stem),
            }
            for structure in STRUCTURES:
                mask = image_files.read_mask(masks[mask_path(stem, structure)], (MASK_SIDE, MASK_SIDE))
                example[_feature(structure)] = squares.square_mask(mask, size)
            yield stem, example


def stems() -> list[str]:
    """Return the names of the radiographs: JPCLN (with a nodule) and JPCNN (without), numbered from 001."""
    return [
        f"JPC{letter}N{number:03d}"
        for letter, count in (("L", WITH_NODULE), ("N", WITHOUT_NODULE))
        for number in range(1, count + 1)
    ]


def scr_fold(stem: str) -> int:
    """Return the SCR database's fold of a radiograph: 1 for odd numbers, 2 for even ones."""
    return 1 if int(stem[-3:]) % 2 else 2


def mask_path(stem: str, structure: str) -> str:
    """Return the path of a mask in the SCR database."""
    return f"scratch/fold{scr_fold(stem)}/masks/{structure}/{stem}.gif"


def find_images(files: dict[str, File]) -> dict[str, File]:
    """Return stem -> radiograph; where there is an `.IMG` and a PNG, the `.IMG`, which is the original."""
    copies = image_files.match(files, r"All247images/(JPC[LN]N\d{3})\.png")
    originals = image_files.match(files, r"(JPC[LN]N\d{3})\.img")
    return {stem.upper(): file for found in (copies, originals) for (stem,), file in found.items()}


def find_masks(files: dict[str, File]) -> dict[str, File]:
    """Return path in the SCR database -> mask."""
    found = image_files.match(files, rf"fold([12])/masks/({'|'.join(STRUCTURES)})/(JPC[LN]N\d{{3}})\.gif")
    return {
        f"scratch/fold{fold}/masks/{structure.lower()}/{stem.upper()}.gif": file
        for (fold, structure, stem), file in found.items()
    }


def read_image(file: File) -> Float[np.ndarray, "h h"]:
    """Read a radiograph, `.IMG` or PNG, in [0, 255], bones bright; raise `DownloadError` unless square."""
    if file.name.lower().endswith(".img"):
        return read_img(file)
    image = image_files.read_radiograph(file)
    height, width = image.shape
    if height != width:
        raise DownloadError(f"{file.name}: expected a square image, found {width}x{height}; convert it again")
    return image


def read_img(file: File) -> Float[np.ndarray, "h h"]:
    """Read a published `.IMG` (2048x2048 big-endian uint16, 12 bits, dark is high) inverted, in [0, 255]."""
    content = file.read()
    expected = IMG_SIDE * IMG_SIDE * 2
    if len(content) != expected:
        raise DownloadError(
            f"{file.name}: expected {expected} bytes ({IMG_SIDE}x{IMG_SIDE} of 16 bits), "
            f"found {len(content)}; download it again"
        )
    film = np.frombuffer(content, ">u2").reshape(IMG_SIDE, IMG_SIDE)
    if film.max() > TWELVE_BITS:
        raise DownloadError(
            f"{file.name}: expected values of 12 bits (at most {TWELVE_BITS}), found {film.max()}; download it again"
        )
    return (TWELVE_BITS - film.astype(np.float32)) * np.float32(255 / TWELVE_BITS)


def _feature(structure: str) -> str:
    return structure.replace(" ", "_")
