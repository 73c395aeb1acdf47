"""Masks as files: PNG, NIfTI or DICOM Segmentation."""

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
from jaxtyping import Bool
from PIL import Image

from cxr_jax import dicom_seg
from tfds_builders.radiograph_files import Radiograph


class Format(NamedTuple):
    """How files end, and their content from a mask, its organ, its radiograph and the radiograph's file."""

    suffix: str
    encode: Callable[[Bool[np.ndarray, "h w"], str, Radiograph, Path], bytes]


def png(mask: Bool[np.ndarray, "h w"], organ: str, radiograph: Radiograph, path: Path) -> bytes:
    """Return a mask as grey PNG, 0 and 255."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def nifti(mask: Bool[np.ndarray, "h w"], organ: str, radiograph: Radiograph, path: Path) -> bytes:
    """Return a mask of 0 and 1 as NIfTI: x to the patient's left and y to the feet, as a frontal view is read."""
    height, width = radiograph.spacing or (1.0, 1.0)
    affine = np.diag([-width, -height, 1.0, 1.0])
    image = nibabel.Nifti1Image(mask.astype(np.uint8).T[..., None], affine)
    return gzip.compress(image.to_bytes(), mtime=0)


FORMATS = {
    "png": Format(".png", png),
    "nifti": Format(".nii.gz", nifti),
    "dicom_seg": Format(".dcm", dicom_seg.encode),
}
