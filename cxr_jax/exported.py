"""A model as one file that JAX runs without this project: StableHLO with its weights, for any batch and platform."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from cxr_jax import files, inference, provenance
from cxr_jax.data.radiographs import FOLDER, stored_side
from cxr_jax.errors import UserError
from cxr_jax.predictor import Predictor
from tfds_builders.squares import FRAME_LEVEL

SUFFIX = ".jax"
ABOUT = ".json"
RANKS = "replace each pixel by its rank among the image's, equal ones by the mean of their ranks"
BRIGHT = "bones bright"
AS_LEARNED = "bones bright or dark as in the folder's images that the model has learned from"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
NEEDS = ("jax", "flatbuffers")  # to run it


class ExportError(UserError):
    """Something that cannot be exported to where it was asked for; the message says what to do."""


def write(directories: Sequence[Path], output: Path, overwrite: bool = False) -> list[Path]:
    """Export models, each of another organ, to `output/ORGAN.jax`, described by `ORGAN.json`; return the former.

    The function in it maps prepared images (uint8 `b s s 1`) to the probability of the organ at each pixel (float32
    `b s s 1`); `b` is free, `s` the model's size. `jax.export.deserialize(bytes).call(images)` runs it without this
    project. Raises `cxr_jax.checkpoints.CheckpointError`, and `ExportError` where a file is in the way or `output` is
    no folder to write to, before anything is written.
    """
    models = {output / f"{organ}{SUFFIX}": model for organ, model in inference.restore_all(directories).items()}
    taken = [file for path in models for file in (path, path.with_suffix(ABOUT)) if os.path.lexists(file)]
    if taken and not overwrite:
        raise ExportError(f"{taken[0]} is there already: give another --output, or --overwrite")
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass  # an output that cannot be written to is told soon
        for path, model in models.items():
            files.write(path, serialise(model))
            files.write_json(path.with_suffix(ABOUT), describe(model))
    except OSError as error:
        raise ExportError(
            f"expected as --output a folder to write to, found {output} ({error.strerror}): give another"
        ) from error
    return list(models)


def serialise(model: Predictor) -> bytes:
    """Return the exported function, whose weights are constants in it."""
    size = model.experiment.image_size
    (batch,) = export.symbolic_shape("b")
    images = jax.ShapeDtypeStruct((batch, size, size, 1), np.uint8)
    return bytes(export.export(jax.jit(model.soften), platforms=PLATFORMS)(images).serialize())


def describe(model: Predictor) -> dict[str, Any]:
    """Return what somebody needs to know who has that file alone."""
    experiment = model.experiment
    size = experiment.image_size
    stored = stored_side(model.dataset)
    steps = [
        f"resize the image to {stored}x{stored}, averaging areas where it shrinks",
        "scale it so that 0, or its darkest pixel if that is below 0, becomes 0 and its brightest 255, uint8",
        f"cut it to the bounding box of the pixels above {FRAME_LEVEL:g} of its maximum" * experiment.trim,
        f"resize it to {size}x{size}, again averaging areas where it shrinks",
        RANKS * (experiment.tones == "equalised"),
        "scale it from its own minimum and maximum to 0 and 255, uint8",
        "invert it" * (model.dataset in experiment.negated),
    ]
    return {
        "organ": experiment.task,
        "input": {
            "shape": ["b", size, size, 1],
            "dtype": "uint8",
            "of": f"frontal chest radiographs, {AS_LEARNED if model.dataset == FOLDER else BRIGHT}",
        },
        "output": {"shape": ["b", size, size, 1], "dtype": "float32", "of": "probability; above 0.5 is the organ"},
        "preparation": [step for step in steps if step],
        "learned_from": list(model.learned_from),
        "stage": model.stage,
        "plausible_masks": None if model.shape is None else model.shape.plain(),  # as cxr_jax.plausibility tells them
        "epoch": model.epoch,
        "weights": model.fingerprint,
        "trained": dict(model.made),
        "commit": provenance.commit(),
        "jax": jax.__version__,
        "platforms": list(PLATFORMS),
        "needs": list(NEEDS),
        "note": "for research; not a medical device",
    }
