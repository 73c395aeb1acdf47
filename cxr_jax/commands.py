"""What `main.py` does with finished models, and its flags for that: masks of radiographs, models as single files."""

import sys
from pathlib import Path

from absl import app, flags

from cxr_jax import exported, mask_files, prediction, ship

CHECKPOINTS = flags.DEFINE_list(
    "checkpoint",
    None,
    "Work directories to predict with or to export, each of another organ; without any, the weights that ship predict.",
)
INPUT = flags.DEFINE_string("input", None, "A radiograph or a folder of them: PNG, JPEG, TIFF, DICOM.")
OUTPUT = flags.DEFINE_string("output", None, "Where masks, overlays and measurements go, or exported models.")
TIDY = flags.DEFINE_bool("tidy", True, "Keep a mask's largest parts alone, and fill their holes.")
MASK_FORMAT = flags.DEFINE_enum("mask_format", "png", list(mask_files.FORMATS), "The files of masks.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output already.")


def predict() -> None:
    """Make masks; exit with 1 if a file was skipped."""
    _require("predict", "input", "output")
    models = [Path(directory) for directory in CHECKPOINTS.value or ()] or ship.shipped()
    if not models:
        _require("predict", "checkpoint")
    skipped = prediction.predict(
        models,
        Path(INPUT.value),
        Path(OUTPUT.value),
        tidy=TIDY.value,
        mask_format=MASK_FORMAT.value,
        overwrite=OVERWRITE.value,
    )
    print(f"masks, overlays and {prediction.TABLE}: {OUTPUT.value}")
    if skipped:
        print(f"skipped: {skipped}; {prediction.TABLE} says why")
        sys.exit(1)


def export() -> None:
    """Make each model a file that JAX alone runs."""
    _require("export", "checkpoint", "output")
    for directory in CHECKPOINTS.value:
        print(exported.write(Path(directory), Path(OUTPUT.value), OVERWRITE.value))


def _require(mode: str, *names: str) -> None:
    """Raise `UsageError` where a flag that the mode needs was not given."""
    for name in names:
        if not flags.FLAGS[name].value:
            raise app.UsageError(f"--mode={mode} needs --{name}: {flags.FLAGS[name].help}")
