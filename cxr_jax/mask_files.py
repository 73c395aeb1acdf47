"""What is written for a radiograph: its masks, as PNG, NIfTI or DICOM Segmentation, and an overlay."""

import gzip
import io
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from cxr_jax import dicom_seg, files, pictures
from cxr_jax.data.look import normalise
from tfds_builders.radiograph_files import Radiograph

COLOURS = {"lungs": (64, 160, 255), "heart": (255, 64, 64), "clavicles": (255, 200, 0)}
SHOWN = 1024  # longest side of an overlay, in pixels
NIFTI_SIDE = 32767  # pixels: its header counts in 16 bits

Masks = Mapping[str, Bool[np.ndarray, "h w"]]


class MaskError(ValueError):
    """A radiograph whose masks cannot be written; the message names it and says why."""


class Format(NamedTuple):
    """How files end, and their content: from a mask, its organ, its radiograph, that one's file, a model's weights."""

    suffix: str
    encode: Callable[[Bool[np.ndarray, "h w"], str, Radiograph, Path, str], bytes]


def paths(stem: Path, organs: Iterable[str], mask_format: str) -> list[Path]:
    """Return the paths of the masks, in the order of the organs, and of the overlay, which all begin with `stem`."""
    names = [*(f"_{organ}{FORMATS[mask_format].suffix}" for organ in organs), "_overlay.png"]
    return [stem.with_name(stem.name + name) for name in names]


def write(
    stem: Path, masks: Masks, radiograph: Radiograph, source: Path, mask_format: str, weights: Mapping[str, str]
) -> None:
    """Write the masks of the radiograph from the file `source`, and an overlay: all or none; raise `MaskError`.

    `weights` are the checksums of the models' weights by organ, for formats that have a place for them.
    """
    contents = _encoded(masks, radiograph, source, mask_format, weights)
    *targets, overlay = paths(stem, masks, mask_format)
    written = []
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(targets, contents, strict=True):
            files.write(path, content)
            written.append(path)
        pictures.save(_overlay(radiograph.pixels, masks), overlay)
    except OSError as error:
        for path in written:  # not what an earlier run has left, which is whole
            with suppress(OSError):
                path.unlink()
        raise MaskError(
            f"{source}: what belongs to it cannot be written to {stem.parent} ({error.strerror})"
        ) from error


def png(mask: Bool[np.ndarray, "h w"], organ: str, radiograph: Radiograph, path: Path, weights: str) -> bytes:
    """Return a mask as grey PNG, 0 and 255."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def nifti(mask: Bool[np.ndarray, "h w"], organ: str, radiograph: Radiograph, path: Path, weights: str) -> bytes:
    """Return a mask of 0 and 1 as NIfTI of one slice: x to the image's right, y down the image, as viewers show it."""
    if max(mask.shape) > NIFTI_SIDE:
        raise ValueError(f"expected at most {NIFTI_SIDE} pixels a side, found {mask.shape[1]}x{mask.shape[0]}")
    height, width = radiograph.spacing or (1.0, 1.0)
    affine = np.diag([-width, -height, 1.0, 1.0])
    image = nibabel.Nifti1Image(mask.astype(np.uint8).T[..., None], affine)
    image.header.set_xyzt_units("mm" if radiograph.spacing else "unknown")
    return gzip.compress(image.to_bytes(), mtime=0)


FORMATS = {
    "png": Format(".png", png),
    "nifti": Format(".nii.gz", nifti),
    "dicom_seg": Format(".dcm", dicom_seg.encode),
}


def _encoded(
    masks: Masks, radiograph: Radiograph, source: Path, mask_format: str, weights: Mapping[str, str]
) -> list[bytes]:
    """Return the content of each mask's file."""
    encode = FORMATS[mask_format].encode
    try:
        return [encode(mask, organ, radiograph, source, weights[organ]) for organ, mask in masks.items()]
    except Exception as error:  # nibabel, pydicom and highdicom raise many kinds for odd files
        raise MaskError(
            f"{source}: --mask_format={mask_format} cannot hold its masks ({error}); give another format"
        ) from error


def _overlay(pixels: Float[np.ndarray, "h w"], masks: Masks) -> UInt8[np.ndarray, "_ _ 3"]:
    """Return a radiograph, made smaller if it is large, with the outlines of its masks."""
    step = max(1, -(-max(pixels.shape) // SHOWN))
    shown = pixels[::step, ::step]
    grey = normalise(shown)[None, ..., None]
    return pictures.outlined_in_colours(grey, {COLOURS[o]: m[None, ::step, ::step, None] for o, m in masks.items()})[0]
