"""What `main.py` can be asked for, by mode, and the flags of that."""

import os
import sys
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags

from cxr_jax import config, devices, experiment, exported, mask_files, plans, prediction, results, ship, table1, table2

CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file in configs/.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where checkpoints, logs and results go; by default runs/ and the name of the config."
)
DATA_DIR = flags.DEFINE_string(
    "data_dir", os.environ.get("TFDS_DATA_DIR"), "Where prepared datasets are; by default TFDS's own folder."
)
MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    os.environ.get("CXR_MANUAL_DIR"),
    "The folder whose sub-folders jsrt/ and montgomery/ hold the official downloads.",
)
CHECKPOINTS = flags.DEFINE_multi_string(
    "checkpoint",
    None,
    "Work directories to predict with or to export, each of another organ, with commas or by repeating the flag; "
    "without any, the weights that ship predict.",
)
INPUT = flags.DEFINE_string("input", None, "A radiograph or a folder of them: PNG, JPEG, TIFF, DICOM.")
OUTPUT = flags.DEFINE_string("output", None, "Where masks, overlays and measurements go, or exported models.")
TIDY = flags.DEFINE_bool("tidy", True, "Keep a mask's largest parts alone, and fill their holes.")
MASK_FORMAT = flags.DEFINE_enum("mask_format", "png", list(mask_files.FORMATS), "The files of masks.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output already.")


TRAINED = (CONFIG, WORKDIR, DATA_DIR, MANUAL_DIR)
TAKES = {
    "train": TRAINED,
    "evaluate": TRAINED,
    "predict": (CHECKPOINTS, INPUT, OUTPUT, TIDY, MASK_FORMAT, OVERWRITE),
    "export": (CHECKPOINTS, OUTPUT, OVERWRITE),
}

KINDS = {
    plans.Experiment: (experiment, results.screen),
    plans.Table1: (table1, table1.screen),
    plans.Table2: (table2, table2.screen),
}


def parse_flags(arguments: list[str]) -> list[str]:
    """Parse flags as absl does; what ml_collections raises for a config's file or fields ends in one line, too."""
    try:
        rest = app.parse_flags_with_usage(arguments)
        hasattr(CONFIG.value, "to_dict")  # of a file that could not be read, this raises why
    except (AttributeError, KeyError, OSError) as error:
        if CONFIG.value is None:  # the file itself failed: its traceback says where
            raise
        sys.exit(f"FATAL Flags parsing error: --config={flags.FLAGS['config'].config_filename}: {_reason(error)}")
    return rest


def _reason(error: BaseException) -> str:
    """Return what an error says in one line; those of ml_collections hold others."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return " ".join(str(error.args[-1] if error.args else error).split())


def require_taken(mode: str) -> None:
    """Raise `UsageError` where a flag was given that the mode does not look at."""
    taken = {flag.name for flag in TAKES[mode]}
    for name in sorted({flag.name for flags_of in TAKES.values() for flag in flags_of} - taken):
        if flags.FLAGS[name].present:
            expected = ", ".join(f"--{flag.name}" for flag in TAKES[mode])
            raise app.UsageError(f"--mode={mode} does not take --{name}; it takes {expected}")


def train() -> None:
    """Do what is left to do of the config, and print the summary."""
    _run("train")


def evaluate() -> None:
    """Test the checkpoints of the config's workdir again, and print the summary."""
    _run("evaluate")


def _run(mode: str) -> None:
    if CONFIG.value is None:
        raise app.UsageError(f"--mode={mode} needs --config, a file in configs/")
    plan = config.parse(CONFIG.value)
    workdir = Path(WORKDIR.value or _default_workdir())
    kind, screen = KINDS[type(plan)]
    found = getattr(kind, mode)(plan, workdir, DATA_DIR.value, MANUAL_DIR.value)
    if devices.is_primary():
        print(screen(found))
        print(f"  results, checkpoints, pictures and logs: {workdir}")


def _default_workdir() -> Path:
    """Return runs/ and the config's file name and preset, such as runs/transfer_phantom."""
    path, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(path).stem, preset]))


def predict() -> None:
    """Make masks; exit with 1 if a file was skipped."""
    _require("predict", "input", "output")
    models = _checkpoints() or ship.shipped()
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
    """Make each model a file that JAX runs without this project."""
    _require("export", "checkpoint", "output")
    for path in exported.write(_checkpoints(), Path(OUTPUT.value), OVERWRITE.value):
        print(path)


def _checkpoints() -> list[Path]:
    return [Path(directory) for given in CHECKPOINTS.value or () for directory in given.split(",")]


def _require(mode: str, *names: str) -> None:
    """Raise `UsageError` where a flag that the mode needs was not given."""
    for name in names:
        if not flags.FLAGS[name].value:
            raise app.UsageError(f"--mode={mode} needs --{name}: {flags.FLAGS[name].help}")
