"""What is in a folder of radiographs, and what is wrong with it."""

import csv
import hashlib
import io
import os
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import permutations
from pathlib import Path

from absl import logging

from tfds_builders.image_files import MAX_FILE_BYTES, DownloadError, File, walk
from tfds_builders.isolation import Isolated
from tfds_builders.organs import ORGANS
from tfds_builders.radiograph_files import HEAD, SUFFIXES, is_dicom, is_one, read_patient

IMAGES, MASKS, PATIENTS = "images", "masks", "patients.csv"
MASK_SUFFIXES = (".png", ".tif", ".tiff")
NOTES = (".csv", ".db", ".html", ".ini", ".json", ".md", ".pdf", ".txt", ".xlsx", ".xml")  # beside images: passed over
INDEX = "DICOMDIR"  # passed over too: what a DICOM medium holds
STRUCTURES = tuple(dict.fromkeys(name for organ, parts in ORGANS.items() for name in (organ, *parts)))
LEAST = 5  # images, or patients: one for each fold
UNKNOWN = "unknown: "  # begins the name of a patient of whom an image alone is known
SHOWN = 20  # faults in a message
_READ: dict[File, str | None] = {}  # patients of DICOM files; a process reads each once, until it is written to
REMEDY = "replace it, or take it out of the folder"

LAYOUT = f"""\
Expected is a folder like this, of which only the images are needed:
  {IMAGES}/**/STEM.png         radiographs ({", ".join(SUFFIXES)}); they may lie in the folder itself, too
  {MASKS}/STRUCTURE/STEM.png   masks of {", ".join(STRUCTURES)}, of all or some images
  {PATIENTS}               whose the images are: a line "image,patient", then one for each image; DICOM files
                             may say it in its place"""


class FolderError(ValueError):
    """A folder that cannot be a dataset; the message names every file at fault, and says what was expected."""

    def __init__(self, folder: Path, faults: Sequence[str]):
        """Tell the first of the `faults`, and how many there are."""
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        lines = "\n  ".join(faults[:SHOWN])
        super().__init__(f"{folder}: {len(faults)} fault{'s' * (len(faults) > 1)}:\n  {lines}{more}\n{LAYOUT}")


@dataclass(frozen=True)
class Contents:
    """The files that make up a dataset: images by stem, masks by structure and stem, each stem's patient if known."""

    folder: Path
    images: Mapping[str, File]
    masks: Mapping[str, Mapping[str, File]]
    patients: Mapping[str, str] | None

    def __str__(self) -> str:
        """Tell in a line what there is."""
        people = "patients unknown" if self.patients is None else f"{len(set(self.patients.values()))} patients"
        masks = ", ".join(f"{structure} ({len(files)})" for structure, files in self.masks.items()) or "nothing"
        return f"{self.folder}: {len(self.images)} images, masks of {masks}, {people}"

    def checksum(self, *, masks: bool = True) -> str:
        """Return what tells this content, with or without its masks, from any other: names, bytes and patients."""
        drawn = self.masks if masks else {}
        parts = [
            *((IMAGES, stem, _digest(file)) for stem, file in self.images.items()),
            *((name, stem, _digest(file)) for name, files in drawn.items() for stem, file in files.items()),
            *(self.patients or {}).items(),
        ]
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Stored:
    """How a file's bytes are had; equal where path, size and time of change are."""

    path: Path
    size: int
    changed: int  # in ns

    def __call__(self) -> bytes:
        return self.path.read_bytes()


def read(folder: Path) -> Contents:
    """Return what is in a folder; raise `FolderError` with all that is wrong, as far as no pixels are looked at."""
    if not folder.is_dir():
        raise FolderError(folder, ["it is not there, or no folder"])
    folder, faults = folder.resolve(), []
    images = _by_stem(_images(folder, faults), faults)
    masks = _masks(folder, faults)
    faults += _unpaired(images, masks)
    patients = _patients(folder, images, faults)
    count, of_whom = (len(images), "") if patients is None else (len(set(patients.values())), " of different patients")
    if count < LEAST:
        faults.insert(0, f"expected at least {LEAST} images{of_whom}, to train, to validate and to test; found {count}")
    if faults:
        raise FolderError(folder, list(dict.fromkeys(faults)))
    return Contents(folder, dict(sorted(images.items())), dict(sorted(masks.items())), patients)


def _images(folder: Path, faults: list[str]) -> Iterator[tuple[str, File]]:
    """Yield stem and file of each image; what lies among them and is neither image nor note is a fault."""
    root = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    for path in _visible(root, folder, faults):
        name = path.relative_to(folder)
        if (root == folder and name.parts[0] == MASKS) or path.suffix.lower() in NOTES or path.name.upper() == INDEX:
            continue
        try:
            start = _start(path)
        except OSError as error:
            faults.append(f"{name}: cannot be read ({error.strerror}); {REMEDY}")
            continue
        if is_one(path.name, start):
            yield _stem(path.name), _file(path, folder, faults)
        else:
            expected = f"{', '.join(SUFFIXES)}, or another DICOM file"
            faults.append(f"{name}: expected {expected}; convert it, or take it out of the folder")


def _masks(folder: Path, faults: list[str]) -> dict[str, dict[str, File]]:
    """Return the masks by structure and stem; structures that cannot stand together are a fault."""
    found: dict[str, list[tuple[str, File]]] = {}
    for path in _visible(folder / MASKS, folder, faults):
        name, suffix = path.relative_to(folder), path.suffix.lower()
        if len(name.parts) != 3 or name.parts[1] not in STRUCTURES:
            faults.append(f"{name}: expected {MASKS}/STRUCTURE/{path.name}, STRUCTURE one of {', '.join(STRUCTURES)}")
        elif suffix not in MASK_SUFFIXES:
            faults.append(f"{name}: expected {', '.join(MASK_SUFFIXES)}, which keep a mask's edge as it is")
        else:
            found.setdefault(name.parts[1], []).append((_stem(path.name), _file(path, folder, faults)))
    for organ, parts in ORGANS.items():
        given = [part for part in parts if part in found]
        if given and organ in found and given != [organ]:
            faults.append(f"{MASKS}/{organ} and {MASKS}/{given[0]}: expected masks of the one or the other, found both")
        elif 0 < len(given) < len(parts):
            missing = next(part for part in parts if part not in found)
            faults.append(f"{MASKS}/{given[0]} without {MASKS}/{missing}; masks of both in one go to {MASKS}/{organ}")
    return {structure: _by_stem(files, faults) for structure, files in found.items()}


def _unpaired(images: Mapping[str, File], masks: Mapping[str, Mapping[str, File]]) -> Iterator[str]:
    """Yield a fault for each mask without image, and for each of one part of an organ without that of the other."""
    for files in masks.values():
        yield from (
            f"{file.name}: there is no image of that name" for stem, file in files.items() if stem not in images
        )
    for parts in ORGANS.values():
        given = {part: masks[part] for part in parts if part in masks}
        for part, other in permutations(given, 2):
            yield from (
                f"{file.name}: there is no {MASKS}/{other}/{stem}.png; a blank one says that it cannot be seen"
                for stem, file in given[part].items()
                if stem not in given[other]
            )


def _patients(folder: Path, images: Mapping[str, File], faults: list[str]) -> dict[str, str] | None:
    """Return each image's patient, from a table (commas or semicolons) or from DICOM; None without either."""
    tables = [path for path in folder.iterdir() if path.name.lower() == PATIENTS and _belongs(path, folder, faults)]
    if not tables:
        return _dicom_patients(folder, images, faults)
    try:
        pairs = _pairs(_file(tables[0], folder, faults))
    except (csv.Error, ValueError) as error:
        faults.append(f"{PATIENTS}: {error}; write it as a table in UTF-8")
        return None
    patients: dict[str, str] = {}
    told = {stem for stem, _ in pairs}
    for stem, patient in pairs:
        if stem not in images:
            faults.append(f"{PATIENTS}: there is no image {stem!r}")
        elif not patient or patients.setdefault(stem, patient) != patient:
            faults.append(f"{PATIENTS}: expected one patient of {stem!r}, found {patients.get(stem)!r} and {patient!r}")
    faults += [f"{PATIENTS}: says nothing of image {stem!r}" for stem in images if stem not in told]
    return dict(sorted(patients.items()))


def _dicom_patients(folder: Path, images: Mapping[str, File], faults: list[str]) -> dict[str, str] | None:
    """Return each image's patient as the DICOM files say, one of its own where none is said; None where none says it.

    What is said of some images only is told in the log.
    """
    files = {stem: file for stem, file in sorted(images.items()) if is_dicom(file.name, _start(folder / file.name))}
    patients: dict[str, str] = {}
    with Isolated() as process:
        for stem, file in files.items():
            try:
                if file not in _READ:
                    _READ[file] = process.call(file.name, read_patient, file)
            except DownloadError as error:
                faults.append(str(error))
                return None
            if _READ[file] is not None:
                patients[stem] = _READ[file]
    unknown = {stem: f"{UNKNOWN}{stem}" for stem in images if stem not in patients}
    if patients and unknown:
        logging.warning(
            "%s: whose %d of %d images are is not said, %s first; each counts as another patient's, unless %s tells",
            *(folder, len(unknown), len(images), min(unknown), PATIENTS),
        )
    return dict(sorted((patients | unknown).items())) if patients else None


def _pairs(table: File) -> list[tuple[str, str]]:
    """Return stem and patient from each line of a table."""
    text = table.read().decode("utf-8-sig")
    rows = csv.DictReader(io.StringIO(text), delimiter=";" if ";" in text.partition("\n")[0] else ",", strict=True)
    rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    if not {"image", "patient"} <= set(rows.fieldnames):
        raise ValueError(f"expected the columns image and patient in its first line, found {rows.fieldnames}")
    return [(_stem((row["image"] or "").strip()), (row["patient"] or "").strip()) for row in rows]


def _by_stem(files: Collection[tuple[str, File]] | Iterator[tuple[str, File]], faults: list[str]) -> dict[str, File]:
    """Return files by their stem; two of one stem are a fault."""
    found: dict[str, File] = {}
    for stem, file in files:
        first = found.setdefault(stem, file)
        if first is not file:
            faults.append(f"{file.name}: expected names that differ, {first.name} is called {stem!r} too; rename one")
    return found


def _file(path: Path, folder: Path, faults: list[str]) -> File:
    name, about = str(path.relative_to(folder)), path.stat()
    if about.st_size > MAX_FILE_BYTES:
        faults.append(f"{name}: expected at most {MAX_FILE_BYTES} bytes, found {about.st_size}; {REMEDY}")
    if not name.isprintable():
        faults.append(f"{name!r}: expected a name of printable characters; rename it")
    return File(name, about.st_size, _Stored(path, about.st_size, about.st_mtime_ns), REMEDY)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _visible(root: Path, folder: Path, faults: list[str]) -> Iterator[Path]:
    """Yield the files below `root` that belong to `folder`; `root` need not be there."""
    if root == folder or _belongs(root, folder, faults):
        yield from walk(root, partial(_belongs, folder=folder, faults=faults))


def _belongs(path: Path, folder: Path, faults: list[str]) -> bool:
    """Tell whether a path is neither hidden, nor what a Mac packs beside files, nor outside; a link out is a fault."""
    if path.name.startswith(".") or path.name == "__MACOSX":
        return False
    inside = Path(os.path.realpath(path)).is_relative_to(folder)
    if not inside:
        faults.append(f"{path.relative_to(folder)}: expected files of the folder, found a link out of it; {REMEDY}")
    return inside


def _stem(name: str) -> str:
    """Return a file's name without the suffix of an image, in the one of Unicode's forms that all systems can give."""
    stem = Path(name).stem if name.lower().endswith(SUFFIXES) else name
    return unicodedata.normalize("NFC", stem)


@cache
def _digest(file: File) -> str:
    """Return a checksum of a file's bytes; a process reads each once, for as long as it is not written to."""
    return hashlib.blake2b(file.read(), digest_size=16).hexdigest()
