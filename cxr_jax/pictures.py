"""Pictures as arrays: radiographs with mask outlines, grids, overlays of test images."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, Shaped, UInt8
from PIL import Image
from scipy import ndimage

from cxr_jax import files

TRUTH, PREDICTION = (64, 224, 64), (255, 64, 64)  # green and red

Pictures = UInt8[np.ndarray, "n h w 3"]
Stack = Shaped[np.ndarray, "n h w 1"] | Shaped[Array, "n h w 1"]


def grey(images: Stack) -> Pictures:
    """Return RGB copies of uint8 images in [0, 255], or of float images in [-1, 1]."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.rint(np.clip((images + 1.0) * 127.5, 0, 255)).astype(np.uint8)
    return np.repeat(images, 3, axis=-1)


def outlined(images: Stack, predicted: Stack, truth: Stack | None = None) -> Pictures:
    """Draw the outline of the predicted masks in red over that of the true ones, if there are any, in green."""
    return outlined_in_colours(images, ({} if truth is None else {TRUTH: truth}) | {PREDICTION: predicted})


def outlined_in_colours(images: Stack, masks: Mapping[tuple[int, int, int], Stack]) -> Pictures:
    """Draw the outlines of masks, each stack in its colour, the later ones over the earlier."""
    pictures = grey(images)
    for colour, stack in masks.items():
        stack = np.asarray(stack, bool)[..., 0]
        inside = ndimage.binary_erosion(stack, structure=ndimage.generate_binary_structure(2, 1)[None])
        pictures[stack & ~inside] = colour
    return pictures


def grid(rows: Sequence[UInt8[np.ndarray, "_ h w 3"]], gap: int = 2) -> UInt8[np.ndarray, "height width 3"]:
    """Lay equally sized pictures out, one sequence a row, `gap` black pixels apart; shorter rows end in black."""
    longest = max(len(row) for row in rows)
    padded = [np.pad(row, ((0, longest - len(row)), (0, gap), (0, gap), (0, 0))) for row in rows]
    return np.concatenate([np.concatenate(list(row), axis=1) for row in padded], axis=0)


def save(picture: UInt8[np.ndarray, "h w 3"], path: Path) -> None:
    """Write a picture as PNG, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    files.write(path, buffer.getvalue())


def contact_sheet(pictures: Mapping[tuple[str, str], Path], path: Path) -> None:
    """Lay PNG files out by the (row, column) that names each, under those names, and write them as one picture."""
    from matplotlib.figure import Figure  # takes a while, and is for this alone

    rows, columns = (list(dict.fromkeys(names)) for names in zip(*pictures, strict=True))
    figure = Figure(figsize=(4.5 * len(columns), 3.6 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for (row, column), file in pictures.items():
        axis = axes[rows.index(row), columns.index(column)]
        axis.imshow(Image.open(file))
        axis.set_title(f"{row}, {column}")
    for axis in axes.flat:
        axis.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=240)  # fine enough for outlines one pixel wide
    files.write(path, buffer.getvalue())
