"""What a training stage writes down while it runs: scalars as JSON lines, pictures as PNG, both for TensorBoard too."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from tensorboardX import SummaryWriter

from cxr_jax import devices, files, pictures

SCALARS = "scalars.jsonl"


class Journal:
    """The log of one stage. Opened to resume after `epoch`, it forgets what was written of later epochs.

    Of several processes that train together the first writes.
    """

    def __init__(self, directory: Path, epoch: int):
        """Open the log in `directory`, of which epochs up to `epoch` are valid."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory, self._lines = directory, directory / SCALARS
        kept = "".join(json.dumps(row) + "\n" for row in read(self._lines) if row["epoch"] <= epoch)
        if not self._lines.exists() or self._lines.read_text() != kept:
            files.write(self._lines, kept)
        folder, writes = str(directory / "tensorboard"), devices.is_primary()
        self._tensorboard = SummaryWriter(folder, purge_step=epoch + 1, write_to_disk=writes)

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write one epoch's scalars."""
        if devices.is_primary():
            with self._lines.open("a") as file:
                file.write(json.dumps({"epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self._tensorboard.add_scalar(name, value, epoch)
        self._tensorboard.flush()

    def pictures(self, epoch: int, drawn: Mapping[str, UInt8[np.ndarray, "h w 3"]]) -> None:
        """Write one epoch's pictures; as PNG, the latest of each name is kept."""
        for name, picture in drawn.items():
            pictures.save(picture, self._directory / f"{name}.png")
            self._tensorboard.add_image(name, picture, epoch, dataformats="HWC")
        self._tensorboard.flush()

    def close(self) -> None:
        """Close the files."""
        self._tensorboard.close()


def read(path: Path) -> list[dict[str, float]]:
    """Return the rows of a scalar log; a last line that a killed process left half-written is dropped."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows
