"""Radiographs are read in a process of its own, which their decoders may crash, stop or fill."""

from pathlib import Path

from cxr_jax.errors import UserError
from cxr_jax.reading import ReadError, read
from tfds_builders.isolation import Isolated, StartError, UnfinishedError
from tfds_builders.radiograph_files import Radiograph


class ReaderError(UserError):
    """The process that reads radiographs does not start, whatever the file; the message says what it was asked for."""


class IsolatedReader(Isolated):
    """Reads radiographs as `cxr_jax.reading.read` does, whatever the files do to their decoders. A context manager."""

    def read(self, path: Path) -> Radiograph:
        """Return a radiograph; raise `ReadError` where it cannot be read, in time and memory.

        Raises `ReaderError` where there is no process to read it.
        """
        try:
            return self.call(str(path), read, path)
        except UnfinishedError as error:
            raise ReadError(str(error)) from error
        except StartError as error:
            raise ReaderError(str(error)) from error
