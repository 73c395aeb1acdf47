"""Which files below a folder are radiographs to predict, and what is written for each is called."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from absl import logging

from cxr_jax import reading
from cxr_jax.errors import UserError
from tfds_builders.radiograph_files import SUFFIXES
from tfds_builders.radiograph_folder.folder import INDEX

TABLE = "measurements.csv"  # of what predicting has found, beside the masks


class InputError(UserError):
    """An input that predicting cannot start with; the message says what was expected and what to do."""


@dataclass(frozen=True)
class Input:
    """A file to read, how the table calls it, and the start of the paths of what is written for it."""

    path: Path
    name: str
    stem: Path


def find(source: Path, output: Path) -> tuple[list[Input], dict[str, str]]:
    """Return what is to be read, and by its name why something is out of reach.

    That is a file, or whatever in a folder and its sub-folders means to be a radiograph: nothing hidden, no index of a
    DICOM medium, nothing in `output` or in a folder that predicting has written to before (it holds a `TABLE`). Links
    that lead out of the folder and sub-folders that cannot be listed are out of reach. What is written for a file has
    its name without suffix, or with it where another has that name already: `b.png_lungs.png` and `b.dcm_lungs.png`.
    Raises `InputError` where that is nothing, or not apart from `output`.
    """
    try:
        source.stat()
    except OSError as error:
        raise InputError(
            f"expected as --input a radiograph or a folder of them, found {source} ({error.strerror}): give another"
        ) from error
    if not source.is_dir():
        return [Input(source, source.name, output / _stem(source.name))], {}
    real = Path(os.path.realpath(source))
    if output.exists() and any(folder.samefile(output) for folder in (real, *real.parents)):
        raise InputError(
            f"expected as --output a folder beside --input={source} or below it, found {output}, where masks and "
            "radiographs would mix: give another"
        )
    unreachable: dict[str, str] = {}
    others: list[Path] = []
    paths = list(_walk(source, output, unreachable, others))
    if others:
        logging.warning("%d files are no radiographs and passed over, the first %s", len(others), others[0])
    if not paths and not unreachable:
        expected = f"{', '.join(SUFFIXES)}, or other DICOM files"
        raise InputError(f"{source} holds no radiograph: expected {expected}, and no {TABLE}, which marks masks")
    return named(paths, source, output), unreachable


def named(paths: Sequence[Path], source: Path, output: Path) -> list[Input]:
    """Return the files with the starts of their outputs' paths, which differ where capitals count for nothing, too.

    Raises `InputError` where they cannot.
    """
    names = Counter(_folded(path.with_name(name)) for path in paths for name in {path.name, _stem(path.name)})
    found = []
    for path in paths:
        stem = path.with_name(_stem(path.name))
        unique = stem if names[_folded(stem)] == 1 else path
        found.append(Input(path, str(path.relative_to(source)), output / unique.relative_to(source)))
    taken = Counter(_folded(item.stem) for item in found)
    alike = [item.name for item in found if taken[_folded(item.stem)] > 1]
    if alike:
        raise InputError(f"expected names that differ in more than capitals, found {', '.join(alike[:4])}: rename some")
    return found


def _folded(path: Path) -> str:
    return str(path).casefold()


def _walk(source: Path, output: Path, unreachable: dict[str, str], others: list[Path]) -> Iterator[Path]:
    """Yield what means to be a radiograph below `source`.

    What is `unreachable` goes there, name -> reason, and other files that are not hidden to the `others`.
    """
    root, own = os.path.realpath(source), os.path.realpath(output)

    def tell(path: Path, reason: str) -> None:
        unreachable[str(path.relative_to(source))] = f"{path}: {reason}"

    def unlisted(error: OSError) -> None:
        tell(Path(error.filename), f"expected a folder that can be listed, found otherwise ({error.strerror})")

    for folder, folders, names in os.walk(source, onerror=unlisted):
        if TABLE in names:
            if not Path(os.path.realpath(folder)).is_relative_to(own):
                logging.warning("%s is passed over, and what is below it: its %s marks masks", folder, TABLE)
            folders[:] = []
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        wanted = {name for name in names if _means_to_be_one(Path(folder, name))}
        others += [Path(folder, name) for name in sorted(set(names) - wanted) if not _hidden(name)]
        for name in (*folders, *sorted(wanted)):
            path = Path(folder, name)
            real = Path(os.path.realpath(path))
            if real.is_relative_to(own):
                continue
            if not real.is_relative_to(root):
                tell(path, f"expected what lies in {source}, found a link out of it; put a copy in its place")
            elif name in wanted:
                yield path


def _means_to_be_one(path: Path) -> bool:
    """Tell whether what is no folder means to be a radiograph; where it cannot be opened, its name tells."""
    if _hidden(path.name):
        return False
    with suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # a pipe would wait for ever
    return reading.looks_like_one(path)


def _hidden(name: str) -> bool:
    """Tell whether a file is none of the user's own: hidden, or the index of a DICOM medium."""
    return name.startswith(".") or name.upper() == INDEX


def _stem(name: str) -> str:
    """Return a file's name without the suffix of an image: a DICOM file may be called `1.2.3`, which has none."""
    return Path(name).stem if name.lower().endswith(SUFFIXES) else name
