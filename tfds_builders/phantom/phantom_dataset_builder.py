"""Procedural chest radiographs with exact masks, as two scanners would show them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.phantom.anatomy import STRUCTURES
from tfds_builders.phantom.render import phantom
from tfds_builders.phantom.scanner import SCANNERS


@dataclass
class PhantomConfig(tfds.core.BuilderConfig):
    """Which phantoms to make.

    Without a `name` it gets one that tells its fields, so that two configs never share a folder.

    Raises:
      ValueError: if there is no such scanner, or a number is out of range.
    """

    name: str = ""
    scanner: str = "a"
    size: int = 128  # side of the square images in pixels, at least 32
    count: int = 160
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields and complete the name."""
        if self.scanner not in SCANNERS:
            raise ValueError(f"unknown scanner {self.scanner!r}: expected one of {', '.join(SCANNERS)}")
        if self.size < 32 or self.count < 1 or self.seed < 0:
            raise ValueError(f"expected size >= 32, count >= 1 and seed >= 0 in {self}")
        if not self.name:
            self.name = f"{self.scanner}_{self.size}_{self.count}_{self.seed}"


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of the phantoms."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        PhantomConfig(name="a", scanner="a", description="scanner a, 128x128"),
        PhantomConfig(name="b", scanner="b", description="scanner b, 128x128"),
        PhantomConfig(name="a_256", scanner="a", size=256, description="scanner a, 256x256"),
        PhantomConfig(name="b_256", scanner="b", size=256, description="scanner b, 256x256"),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": picture,
                    **dict.fromkeys(STRUCTURES, picture),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str | np.ndarray]]]:
        config = self.builder_config
        for index in range(config.count):
            name = f"phantom_{config.scanner}_{index:04d}"
            pictures = phantom(config.scanner, config.size, config.seed, index)
            yield name, {"id": name, **{key: picture[..., None] for key, picture in pictures.items()}}
