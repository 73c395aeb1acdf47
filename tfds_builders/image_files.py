"""Reading radiographs and masks, from folders or archives, with every fault named by its file."""

import gzip
import io
import os
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from re import IGNORECASE, fullmatch

import numpy as np
from jaxtyping import Bool, Float, Int32, UInt8
from PIL import Image, ImageOps

MAX_FILE_BYTES = 128 * 2**20
MAX_TAR_BYTES = 512 * 2**20  # unpacked
MAX_PIXELS = 64 * 10**6
TWELVE_BITS, SIXTEEN_BITS = 4095, 65535

UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError, zlib.error)
NOISE = ("__MACOSX/", "/._")
DOWNLOADED = ("PNG", "GIF")  # the formats in which the datasets are published
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a TIFF tag, which Pillow heeds up to 8 bits alone


class DownloadError(ValueError):
    """A file that is damaged or not as expected; the message names it and says what to do."""


@dataclass(frozen=True)
class File:
    """A file: what errors call it, its size in bytes, how its content is had, and what to do where it is faulty."""

    name: str
    size: int
    load: Callable[[], bytes]
    remedy: str = "download it again"

    def read(self) -> bytes:
        """Return the content; raise `DownloadError` where it is too large or cannot be read."""
        if self.size > MAX_FILE_BYTES:
            raise DownloadError(
                f"{self.name}: expected at most {MAX_FILE_BYTES} bytes, found {self.size}; {self.remedy}"
            )
        try:
            return self.load()
        except UNREADABLE as error:
            raise DownloadError(f"{self.name}: cannot be read ({error}); {self.remedy}") from error


def find_files(folder: Path) -> dict[str, File]:
    """Return every file below `folder`, path -> file: first those as they lie, then those inside archives.

    A zip or tar.gz counts as if it were unpacked where it lies. Nothing is written: members are read into
    memory. Raises `DownloadError` for an archive that is damaged or whose members point out of it.
    """
    unpacked: dict[str, File] = {}
    packed: dict[str, File] = {}
    for path in walk(folder):
        relative = path.relative_to(folder)
        members = _archive_reader(path)
        if members is None:
            unpacked[relative.as_posix()] = File(str(path), path.stat().st_size, path.read_bytes)
        else:
            packed |= {str(PurePosixPath(relative.parent, name)): file for name, file in members(path)}
    return unpacked | {name: file for name, file in packed.items() if name not in unpacked}


def walk(folder: Path, enters: Callable[[Path], bool] = lambda path: True) -> Iterator[Path]:
    """Yield the files below `folder` in order, through links to folders too, each real folder once.

    A file or folder that `enters` says no to is passed over, with all that is in it. Raises `OSError` for a folder
    that is there and cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    seen = set()
    for parent, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if enters(Path(parent, name)))
        yield from (path for name in sorted(names) if enters(path := Path(parent, name)) and path.is_file())


def match(files: Mapping[str, File], pattern: str) -> dict[tuple[str, ...], File]:
    """Return the files whose path ends in `pattern` (a regular expression, any case): its groups -> file.

    Where several files give the same groups, the first one counts.
    """
    found: dict[tuple[str, ...], File] = {}
    for path, file in files.items():
        hit = fullmatch(f"(?:.*/)?{pattern}", path, IGNORECASE)
        if hit and not any(noise in f"/{path}" for noise in NOISE):
            found.setdefault(hit.groups(), file)
    return found


def require(found: Collection[str], expected: Collection[str], what: str, folder: Path, instructions: str) -> None:
    """Raise `FileNotFoundError` unless the files `found` in `folder` are those `expected`."""
    missing, unexpected = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unexpected:
        raise FileNotFoundError(
            f"{folder}: expected {len(expected)} {what}, found {len(found)}"
            f"{_some(missing, 'missing')}{_some(unexpected, 'unexpected')}.\n{instructions}"
        )


def read_radiograph(file: File) -> Float[np.ndarray, "h w"]:
    """Read a grey PNG of 8, 12 or 16 bits, scaled to [0, 255].

    A deeper image whose values stay within 12 bits counts as 12 bits deep.
    """
    pixels = read_pixels(file)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.float32)
    top = TWELVE_BITS if pixels.max() <= TWELVE_BITS else SIXTEEN_BITS
    return pixels.astype(np.float32) * np.float32(255 / top)


def read_mask(file: File, shape: tuple[int, int], formats: Sequence[str] = DOWNLOADED) -> Bool[np.ndarray, "h w"]:
    """Read a mask; raise `DownloadError` unless it is `shape` (height, width) and binary, background 0."""
    pixels = read_pixels(file, formats)
    if pixels.shape != shape:
        raise DownloadError(
            f"{file.name}: expected a mask of {shape[1]}x{shape[0]} pixels, found "
            f"{pixels.shape[1]}x{pixels.shape[0]}, which are not its radiograph's; {file.remedy}"
        )
    mask = pixels > 0
    if (pixels[mask] != pixels.max()).any() or mask.all():
        raise DownloadError(
            f"{file.name}: expected a binary mask (0 and one other value), found the values "
            f"{np.unique(pixels)[:5].tolist()}; {file.remedy}"
        )
    return mask


def read_pixels(file: File, formats: Sequence[str] = DOWNLOADED) -> UInt8[np.ndarray, "h w"] | Int32[np.ndarray, "h w"]:
    """Read a PNG, GIF, JPEG or TIFF as `decode` does; raise `DownloadError` where that cannot be done."""
    content = file.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return decode(content, formats)
    except MemoryError:
        raise  # says nothing of the file's format
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise DownloadError(f"{file.name}: not a readable image ({error}); {file.remedy}") from error


def decode(content: bytes, formats: Sequence[str]) -> UInt8[np.ndarray, "h w"] | Int32[np.ndarray, "h w"]:
    """Return grey pixels, uint8 or (deeper than 8 bits) int32, of an image in one of the `formats` (Pillow's names).

    They are turned as their EXIF orientation says, and bright where viewers show them bright; of colours they are the
    luminance (ITU-R 601), of which at 16 bits a colour the upper 8 count. Raises what Pillow raises, which is of many
    kinds.
    """
    with _open(content, formats) as picture:
        picture.verify()  # checksums, which decoding alone does not look at
    with _open(content, formats) as picture:
        picture.load()
        return _grey(picture)


def _some(names: list[str], fault: str) -> str:
    if not names:
        return ""
    return f"; {len(names)} {fault}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def _archive_reader(path: Path) -> Callable[[Path], Iterator[tuple[str, File]]] | None:
    name = path.name.lower()
    if name.startswith("._"):
        return None
    if name.endswith(".zip"):
        return _zip_members
    return _tar_members if name.endswith((".tar.gz", ".tgz")) else None


def _zip_members(path: Path) -> Iterator[tuple[str, File]]:
    """Yield name and file of each member of a zip; the zip stays open for as long as its files are held."""
    try:
        archive = zipfile.ZipFile(path)
    except UNREADABLE as error:
        raise DownloadError(f"{path}: cannot be read as a zip ({error}); download it again") from error
    for info in archive.infolist():
        if not info.is_dir():
            name = _member_name(path, info.filename)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others inflate without a bound
                raise DownloadError(f"{path}: expected {name!r} stored or deflated, found otherwise; unzip it yourself")
            yield name, File(f"{path}: {name}", info.file_size, partial(_read_member, archive, info))


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return a member's content; where more is packed than it says, inflate no more than that."""
    with archive.open(info) as member:
        return member.read(info.file_size)


class _Unpacked:
    """What a gzip holds, as a stream of at most `MAX_TAR_BYTES`."""

    def __init__(self, path: Path, stream: gzip.GzipFile):
        self._path, self._stream, self._left = path, stream, MAX_TAR_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes; raise `DownloadError` where there are more than may be."""
        content = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise DownloadError(
                f"{self._path}: expected at most {MAX_TAR_BYTES} bytes, unpacked; unpack it and move it away"
            )
        return content


def _tar_members(path: Path) -> Iterator[tuple[str, File]]:
    """Yield name and file of each plain member of a tar.gz, which is held in memory."""
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=_Unpacked(path, stream), mode="r|") as archive:
            for info in archive:
                name = _member_name(path, info.name)
                if info.issparse():  # a few bytes of which may be any size
                    raise DownloadError(f"{path}: expected plain members, found {name!r} sparse; unpack it yourself")
                if info.isfile():
                    content = archive.extractfile(info).read()
                    yield name, File(f"{path}: {name}", info.size, lambda content=content: content)
    except UNREADABLE as error:
        raise DownloadError(f"{path}: cannot be read as a tar.gz ({error}); download it again") from error


def _member_name(archive: Path, name: str) -> str:
    """Return a member's name with forward slashes; raise `DownloadError` where it leaves the archive."""
    path = PureWindowsPath(name)
    if path.drive or path.root or ".." in path.parts:
        raise DownloadError(f"{archive}: member {name!r} points out of the archive; download it again")
    return path.as_posix()


def _open(content: bytes, formats: Sequence[str]) -> Image.Image:
    """Open an image and check, in front of decoding, that it is one picture of a bearable size."""
    picture = Image.open(io.BytesIO(content), formats=formats)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"expected at most {MAX_PIXELS} pixels, found {width}x{height}")
    if getattr(picture, "is_animated", False):  # to count them may take long
        raise ValueError("expected one image, found several frames or pages")
    return picture


def _grey(picture: Image.Image) -> UInt8[np.ndarray, "h w"] | Int32[np.ndarray, "h w"]:
    turned = ImageOps.exif_transpose(picture)
    if not picture.mode.startswith(("I", "F")):
        return np.asarray(turned.convert("L"))
    if picture.mode == "F":
        raise ValueError("its pixels are no whole numbers")
    pixels = np.asarray(turned).astype(np.int32)
    low, high = pixels.min(), pixels.max()
    if low < 0 or high > SIXTEEN_BITS:
        raise ValueError(f"expected whole numbers from 0 to {SIXTEEN_BITS}, found {low} to {high}")
    return high - pixels if getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO else pixels
