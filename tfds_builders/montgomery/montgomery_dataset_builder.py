"""The Montgomery County tuberculosis set: radiographs with masks of the left and the right lung."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders import image_files
from tfds_builders.image_files import DownloadError, Files

IMAGES = 138
LUNGS = ("left", "right")


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
The Montgomery County chest X-ray set is public. The manual directory must hold
  MontgomerySet/CXR_png/MCUCXR_0001_0.png ...             the 138 radiographs
  MontgomerySet/ManualMask/leftMask/MCUCXR_0001_0.png ... the 138 masks of the left lung
  MontgomerySet/ManualMask/rightMask/...                  the 138 masks of the right lung
unpacked, or as the zip that the U.S. National Library of Medicine publishes ("Tuberculosis Chest X-ray Image
Data Sets", lhncbc.nlm.nih.gov, NLM-MontgomeryCXRSet.zip)."""

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": picture,
                    "left_lung": picture,
                    "right_lung": picture,
                    "tuberculosis": np.bool_,
                }
            ),
            homepage="https://lhncbc.nlm.nih.gov/LHC-downloads/dataset.html",
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        folder = Path(dl_manager.manual_dir)
        files = image_files.find_files(folder)
        images = {
            stem[0]: path
            for stem, path in image_files.match(files, r"CXR_png/(MCUCXR_\d{4}_[01])\.png").items()
        }
        image_files.require(
            images, IMAGES, "radiographs (CXR_png/MCUCXR_*.png)", folder, self.MANUAL_DOWNLOAD_INSTRUCTIONS
        )
        found = image_files.match(files, r"ManualMask/(left|right)Mask/(MCUCXR_\d{4}_[01])\.png")
        masks = {(stem, side.lower()): path for (side, stem), path in found.items()}
        for stem in images:
            for side in LUNGS:
                if (stem, side) not in masks:
                    raise DownloadError(
                        f"expected MontgomerySet/ManualMask/{side}Mask/{stem}.png in {folder}, found none.\n"
                        f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
                    )
        return {"train": self._generate_examples(files, images, masks)}

    def _generate_examples(
        self, files: Files, images: dict[str, str], masks: dict[tuple[str, str], str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        size = self.builder_config.size
        for stem, path in sorted(images.items()):
            image = image_files.read_radiograph(files, path)
            lungs = {side: image_files.read_mask(files, masks[stem, side]) for side in LUNGS}
            for side, mask in lungs.items():
                if mask.shape != image.shape:
                    raise DownloadError(
                        f"{masks[stem, side]}: expected the radiograph's size {image.shape[1]}x{image.shape[0]}, "
                        f"found {mask.shape[1]}x{mask.shape[0]}"
                    )
            yield (
                stem,
                {
                    "id": stem,
                    "image": image_files.square_radiograph(image, size),
                    **{f"{side}_lung": image_files.square_mask(mask, size) for side, mask in lungs.items()},
                    "tuberculosis": stem.endswith("_1"),
                },
            )
