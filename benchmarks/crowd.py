"""A prepared dataset of as many radiographs as are asked for: phantoms, each shown many times under other noise."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from tfds_builders.phantom.render import phantom

RENDERED = 32  # phantoms
NOISE = 4.0  # its standard deviation, in grey levels of 255


@dataclass
class CrowdConfig(tfds.core.BuilderConfig):
    """How many images of how many pixels a side."""

    name: str = ""
    count: int = 1
    size: int = 256

    def __post_init__(self) -> None:
        """Name the config after its fields."""
        self.name = f"{self.count}_{self.size}"


class Crowd(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of many radiographs without labels."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        features = tfds.features.FeaturesDict({"id": tfds.features.Text(), "image": picture})
        return tfds.core.DatasetInfo(builder=self, description="Phantoms under noise.", features=features)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, str | np.ndarray]]]:
        count, size = self.builder_config.count, self.builder_config.size
        rendered = [phantom("b", size, 0, index)["image"] for index in range(min(count, RENDERED))]
        for index in range(count):
            name = f"crowd_{index:06}"
            yield name, {"id": name, "image": _noisy(rendered[index % len(rendered)], index)[..., None]}


def _noisy(image: UInt8[np.ndarray, "s s"], seed: int) -> UInt8[np.ndarray, "s s"]:
    noise = NOISE * np.random.default_rng(seed).standard_normal(image.shape, np.float32)
    return np.where(image > 0, np.clip(image + noise, 1, 255), 0).astype(np.uint8)  # the black frame stays


def prepare(folder: str | Path, count: int, size: int) -> Crowd:
    """Return the builder of `count` images of `size` pixels a side, which are written to `folder` if need be."""
    builder = Crowd(config=CrowdConfig(count=count, size=size), data_dir=str(folder))
    if not builder.is_prepared():
        builder.download_and_prepare(file_format="array_record")
    return builder
