"""Reading downloaded radiographs and masks, from folders or zips, with every fault named by its file."""

import io
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

MAX_FILE_BYTES = 128 * 2**20
MAX_PIXELS = 64 * 10**6
TWELVE_BITS, SIXTEEN_BITS = 4095, 65535

Files = Mapping[str, Callable[[], bytes]]


class DownloadError(ValueError):
    """A download that is missing, incomplete or damaged; the message names it and says what to do."""


def find_files(folder: Path) -> Files:
    """Return every file below `folder`, those inside its zips too: path -> function that reads the bytes.

    A zip counts as a folder unpacked in its place. Where a file exists both ways, the unpacked one is taken.
    Zips are never extracted: members are read into memory, up to 128 MiB each.
    """
    files: dict[str, Callable[[], bytes]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() == ".zip":
            for name, read in _zip_members(path).items():
                files.setdefault(str(PurePosixPath(path.parent.relative_to(folder)) / name), read)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix.lower() != ".zip":
            files[path.relative_to(folder).as_posix()] = path.read_bytes
    return files


def match(files: Files, pattern: str) -> dict[tuple[str, ...], str]:
    """Return the files whose path ends in `pattern` (case-insensitive): its groups -> path."""
    expression = re.compile(f"(?:^|.*/){pattern}$", re.IGNORECASE)
    found: dict[tuple[str, ...], str] = {}
    for path in files:
        hit = expression.match(path)
        if hit and "__MACOSX" not in path and not PurePosixPath(path).name.startswith("._"):
            found.setdefault(hit.groups(), path)
    return found


def require(found: Sequence[str], count: int, what: str, folder: Path, instructions: str) -> None:
    """Raise `DownloadError` unless `count` files were found."""
    if len(found) != count:
        raise DownloadError(f"expected {count} {what} in {folder}, found {len(found)}.\n{instructions}")


def read_radiograph(files: Files, path: str) -> UInt8[np.ndarray, "h w"]:
    """Read a grey image of 8, 12 or 16 bits as 8 bits. Deeper images that stay within 12 bits count as 12."""
    pixels = _decode(files, path)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.min() < 0 or pixels.max() > SIXTEEN_BITS:
        raise DownloadError(
            f"{path}: expected values of at most 16 bits, found {pixels.min()} to {pixels.max()}"
        )
    top = TWELVE_BITS if pixels.max() <= TWELVE_BITS else SIXTEEN_BITS
    return np.rint(pixels * (255.0 / top)).astype(np.uint8)


def read_mask(files: Files, path: str) -> Bool[np.ndarray, "h w"]:
    """Read a mask; raise `DownloadError` unless it is binary with background 0."""
    pixels = _decode(files, path)
    values = np.unique(pixels)
    if len(values) > 2 or values[0] != 0:
        raise DownloadError(
            f"{path}: expected a binary mask (0 and one other value), found {values[:5].tolist()}"
        )
    return pixels > 0


def resize(image: np.ndarray, size: int | tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Resize an image (h w) to a square of `size` pixels, or to (height, width), as float32.

    Shrinking averages the area that a new pixel covers; enlarging is bilinear.
    """
    height, width = (size, size) if isinstance(size, int) else size
    picture = Image.fromarray(np.ascontiguousarray(image, dtype=np.float32))
    shrinks = height <= image.shape[0] and width <= image.shape[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    return np.asarray(picture.resize((width, height), method))


def square_radiograph(image: UInt8[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Resize a radiograph to a square, as the paper does, whatever its aspect."""
    return np.rint(resize(image, size)).astype(np.uint8)[..., None]


def square_mask(mask: Bool[np.ndarray, "h w"], size: int) -> UInt8[np.ndarray, "size size 1"]:
    """Resize a mask to a square; a pixel is foreground where at least half of it was."""
    return (resize(mask, size) >= 0.5).astype(np.uint8)[..., None]


def _zip_members(path: Path) -> dict[str, Callable[[], bytes]]:
    """Return the files of a zip; raise `DownloadError` for a damaged zip or one with names that climb."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError) as error:
        raise DownloadError(f"{path}: cannot be read as a zip ({error}); download it again") from error
    for info in infos:
        name = PurePosixPath(info.filename)
        if name.is_absolute() or ".." in name.parts:
            raise DownloadError(
                f"{path}: member {info.filename!r} points out of the archive; download it again"
            )

    def reader(info: zipfile.ZipInfo) -> Callable[[], bytes]:
        def read() -> bytes:
            if info.file_size > MAX_FILE_BYTES:
                raise DownloadError(f"{path}: member {info.filename!r} is larger than {MAX_FILE_BYTES} bytes")
            with zipfile.ZipFile(path) as archive:
                return archive.read(info)

        return read

    return {info.filename: reader(info) for info in infos}


def read_bytes(files: Files, path: str) -> bytes:
    """Read one file whole; raise `DownloadError` naming it where that fails."""
    try:
        return files[path]()
    except (OSError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{path}: cannot be read ({error}); download it again") from error


def _decode(files: Files, path: str) -> np.ndarray:
    """Decode an image file to grey pixels, uint8 or int32; raise `DownloadError` naming it where that fails."""
    content = read_bytes(files, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise DownloadError(
                        f"{path}: {picture.width}x{picture.height} is more than {MAX_PIXELS} pixels"
                    )
                picture.load()
                deep = picture.mode.startswith("I")
                return np.asarray(picture).astype(np.int32) if deep else np.asarray(picture.convert("L"))
    except DownloadError:
        raise
    except Exception as error:  # Pillow's decoders raise many kinds for damaged files
        raise DownloadError(f"{path}: not a readable image ({error}); download it again") from error
