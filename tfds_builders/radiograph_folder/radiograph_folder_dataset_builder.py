"""Any folder of chest radiographs, such as a hospital's own, with or without masks."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.image_files import DownloadError
from tfds_builders.isolation import Isolated
from tfds_builders.radiograph_folder import folder
from tfds_builders.radiograph_folder.folder import Contents, FolderError
from tfds_builders.radiograph_folder.squares import read_mask, read_radiograph
from tfds_builders.squares import FOLDER_SIDE


@dataclass
class RadiographFolderConfig(tfds.core.BuilderConfig):
    """Which folder to read, and the side of the prepared square images, in pixels.

    Its `name` is made of the folder's content, so that a prepared dataset is never taken for that of another folder,
    nor for what the folder held before.

    Raises:
      FolderError: if the folder cannot be a dataset, told by names alone; files that cannot be read are told too.
    """

    name: str = ""
    folder: str | Path = ""
    size: int = FOLDER_SIDE

    def __post_init__(self) -> None:
        """Look at the folder and make the name."""
        try:
            self.name = f"{self.contents.checksum()}_{self.size}"
        except DownloadError as error:
            raise FolderError(self.contents.folder, [str(error)]) from error

    def __str__(self) -> str:
        """Tell what was found, which TFDS logs."""
        return str(self.contents)

    @property
    def identity(self) -> str:
        """What tells these images and patients, whatever masks there are, from any other."""
        return f"{self.contents.checksum(masks=False)}_{self.size}"

    @cached_property
    def contents(self) -> Contents:
        """What is in the folder."""
        return folder.read(Path(self.folder).expanduser().resolve())


class Builder(tfds.core.GeneratorBasedBuilder):
    """TFDS builder of a folder of radiographs."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012

    @property
    def contents(self) -> Contents:
        """What is in the folder."""
        if not isinstance(self.builder_config, RadiographFolderConfig):
            raise ValueError('radiograph_folder needs to know which: config=RadiographFolderConfig(folder="...")')
        return self.builder_config.contents

    def _info(self) -> tfds.core.DatasetInfo:
        contents = self.contents
        size = self.builder_config.size
        picture = tfds.features.Tensor(shape=(size, size, 1), dtype=np.uint8, encoding="zlib")
        patient = {} if contents.patients is None else {"patient": tfds.features.Text()}
        masks = dict.fromkeys(contents.masks, picture) | {f"has_{structure}": np.bool_ for structure in contents.masks}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"id": tfds.features.Text(), "image": picture, **patient, **masks}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the examples; when all files have been read, raise `FolderError` with all that was wrong with them."""
        contents, faults = self.contents, []
        blank = set(contents.masks)
        with Isolated() as process:
            for stem in contents.images:
                example, found = self._example(stem, process)
                faults += found
                blank -= {structure for structure in blank if found or example[structure].any()}
                if not faults:
                    yield stem, example
        faults += [
            f"masks/{structure}: every mask is blank; remove them, or replace them" for structure in sorted(blank)
        ]
        if faults:
            raise FolderError(contents.folder, faults)

    def _example(self, stem: str, process: Isolated) -> tuple[dict[str, Any], list[str]]:
        """Return an image with its masks and patient, as far as they can be read, and what is wrong with them."""
        contents, size, faults = self.contents, self.builder_config.size, []
        example: dict[str, Any] = {"id": stem}
        if contents.patients is not None:
            example["patient"] = contents.patients[stem]
        image = contents.images[stem]
        try:
            shape, example["image"] = process.call(image.name, read_radiograph, image, size)
        except DownloadError as error:
            return example, [str(error)]
        for structure, masks in contents.masks.items():
            example[f"has_{structure}"] = stem in masks
            example[structure] = np.zeros_like(example["image"])
            if stem not in masks:
                continue
            try:
                example[structure] = process.call(masks[stem].name, read_mask, masks[stem], shape, size)
            except DownloadError as error:
                faults.append(str(error))
        return example, faults
