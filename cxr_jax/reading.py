"""A radiograph from a path that is not trusted."""

import os
import stat
from pathlib import Path

from tfds_builders import radiograph_files
from tfds_builders.image_files import MAX_FILE_BYTES, DownloadError, File
from tfds_builders.radiograph_files import Radiograph


class ReadError(ValueError):
    """A file that is no radiograph this project can read; the message names it and says what was expected."""


def read(path: str | Path) -> Radiograph:
    """Read a radiograph as `tfds_builders.radiograph_files.read` does, from a regular file; raise `ReadError`.

    A hostile file may crash its decoder, and this process: `cxr_jax.isolation.IsolatedReader` reads such in another.
    """
    content = _content(path)
    try:
        file = File(str(path), len(content), lambda: content, "it is damaged, or of another kind")
        return radiograph_files.read(file)
    except DownloadError as error:
        raise ReadError(str(error)) from error


def looks_like_one(path: Path) -> bool:
    """Tell by its name or its first bytes whether a file means to be a radiograph."""
    try:
        with path.open("rb") as file:
            return radiograph_files.is_one(path.name, file.read(radiograph_files.HEAD))
    except OSError:
        return radiograph_files.is_one(path.name, b"")


def _content(path: str | Path) -> bytes:
    """Return the bytes of a regular file of a sane size."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ReadError(f"{path}: expected a file, found something else (a device or a pipe)")
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ReadError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_FILE_BYTES:
        raise ReadError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, found {found.st_size}")
    return content
