"""JSRT radiographs with the SCR database's masks of lungs, heart and clavicles."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders import image_files
from tfds_builders.image_files import DownloadError, Files

IMAGES = 247
IMG_SIDE = 2048
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
JSRT is distributed after a free registration. The manual directory must hold
  All247images/JPCLN001.IMG ... JPCNN093.IMG   the 247 radiographs (.IMG as published, or PNG copies), from the
                                               Japanese Society of Radiological Technology, db.jsrt.or.jp
  scratch/fold1/masks/heart/JPCLN001.gif ...   the 5 x 247 masks of the SCR database, from the Image Sciences
  scratch/fold2/masks/...                      Institute, UMC Utrecht: folders heart, left lung, right lung,
                                               left clavicle, right clavicle
unpacked, or as zips of these folders."""

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": picture,
                    **{structure.replace(" ", "_"): picture for structure in STRUCTURES},
                    "nodule": np.bool_,
                    "scr_fold": np.int32,
                }
            ),
            homepage="http://db.jsrt.or.jp/eng.php",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir)
        files = image_files.find_files(folder)
        images = {
            stem[0].upper(): path for stem, path in image_files.match(files, r"(JPC[LN]N\d{3})\.png").items()
        }
        images |= {
            stem[0].upper(): path for stem, path in image_files.match(files, r"(JPC[LN]N\d{3})\.img").items()
        }
        image_files.require(
            images, IMAGES, "radiographs (JPC*.IMG or .png)", folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS
        )
        names = "|".join(STRUCTURES)
        found = image_files.match(files, rf"fold([12])/masks/({names})/(JPC[LN]N\d{{3}})\.gif")
        masks = {
            (stem.upper(), name.lower()): (int(fold), path) for (fold, name, stem), path in found.items()
        }
        for stem in images:
            for structure in STRUCTURES:
                if (stem, structure) not in masks:
                    raise DownloadError(
                        f"expected scratch/fold*/masks/{structure}/{stem}.gif in {folder}, found none.\n"
                        f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
                    )
        return {"train": self._generate_examples(files, images, masks)}

    def _generate_examples(
        self, files: Files, images: dict[str, str], masks: dict[tuple[str, str], tuple[int, str]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.builder_config.size
        for stem, path in sorted(images.items()):
            image = (
                read_img(files, path)
                if path.lower().endswith(".img")
                else image_files.read_radiograph(files, path)
            )
            if image.shape[0] != image.shape[1]:
                raise DownloadError(
                    f"{path}: expected a square image, found {image.shape[1]}x{image.shape[0]}"
                )
            yield (
                stem,
                {
                    "id": stem,
                    "image": image_files.square_radiograph(image, size),
                    **{
                        structure.replace(" ", "_"): image_files.square_mask(
                            image_files.read_mask(files, masks[stem, structure][1]), size
                        )
                        for structure in STRUCTURES
                    },
                    "nodule": stem.startswith("JPCLN"),
                    "scr_fold": masks[stem, "heart"][0],
                },
            )


def read_img(files: Files, path: str) -> np.ndarray:
    """Read a published `.IMG` file (2048x2048 big-endian uint16, 12 bits, dark film high) as display uint8."""
    content = image_files.read_bytes(files, path)
    expected = IMG_SIDE * IMG_SIDE * 2
    if len(content) != expected:
        raise DownloadError(f"{path}: expected {expected} bytes, found {len(content)}; download it again")
    film = np.frombuffer(content, ">u2").reshape(IMG_SIDE, IMG_SIDE)
    if film.max() > image_files.TWELVE_BITS:
        raise DownloadError(f"{path}: expected 12-bit values, found {film.max()}; download it again")
    return np.rint(
        (image_files.TWELVE_BITS - film.astype(np.float32)) * (255.0 / image_files.TWELVE_BITS)
    ).astype(np.uint8)
