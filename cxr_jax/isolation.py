"""Radiographs are read in a process of its own, which their decoders may crash, stop or fill."""

from pathlib import Path

from cxr_jax.reading import ReadError, read
from tfds_builders.isolation import Isolated, UnfinishedError
from tfds_builders.radiograph_files import Radiograph


class IsolatedReader(Isolated):
    """Reads radiographs as `cxr_jax.reading.read` does, whatever the files do to their decoders. A context manager."""

    def read(self, path: Path) -> Radiograph:
        """Return a radiograph; raise `ReadError` where it cannot be read, in time and memory."""
        try:
            return self.call(str(path), read, path)
        except UnfinishedError as error:
            raise ReadError(str(error)) from error
