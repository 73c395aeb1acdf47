"""What `main.py` can be asked for, by mode, and the flags of that."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from absl import app, flags
from ml_collections import config_flags

from cxr_jax import compact, config, devices, exported, mask_files, plans, platform, prediction

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
CHECKPOINTS = flags.DEFINE_multi(
    flags.ListParser(),
    flags.CsvListSerializer(","),
    "checkpoint",
    None,
    "Work directories to predict with or to export, each of another organ, with commas or by repeating the flag; "
    "without any, the weights that ship predict.",
)
INPUT = flags.DEFINE_string("input", None, "A radiograph or a folder of them: PNG, JPEG, TIFF, DICOM.")
OUTPUT = flags.DEFINE_string("output", None, "Where masks, overlays and measurements go, or exported models.")
TIDY = flags.DEFINE_bool(
    "tidy", True, "Keep as many parts of a mask as the organ has, the largest and surest, and fill their holes."
)
MASK_FORMAT = flags.DEFINE_enum("mask_format", "png", list(mask_files.FORMATS), "The files of masks.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output already.")
RESUME = flags.DEFINE_bool("resume", False, "Go on with masks in --output where a run of the same models was stopped.")


TRAINED = (CONFIG, WORKDIR, DATA_DIR, MANUAL_DIR)
TAKES = {
    "train": TRAINED,
    "evaluate": TRAINED,
    "predict": (CHECKPOINTS, INPUT, OUTPUT, TIDY, MASK_FORMAT, OVERWRITE, RESUME),
    "export": (CHECKPOINTS, OUTPUT, OVERWRITE),
}


def parse_flags(arguments: list[str]) -> list[str]:
    """Parse flags as absl does, and look whether the config could be read; exit with a line that says what is wrong.

    What the config's own code raises, other than `ValueError`, goes through: its traceback says where.
    """
    try:
        rest = flags.FLAGS(arguments)
        hasattr(CONFIG.value, "to_dict")  # of a file that could not be read, this raises why
    except flags.Error as error:
        sys.exit(f"wrong flags: {_last_line(error)}; --help lists them")
    except (AttributeError, KeyError, OSError) as error:
        if not _raised_in("ml_collections", error):
            raise
        sys.exit(f"wrong --config: {_message(error)}")
    return rest


def _raised_in(package: str, error: BaseException) -> bool:
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").startswith(package)


def _message(error: BaseException) -> str:
    """Return what an error says in one line; those of ml_collections hold others."""
    while error.args and isinstance(error.args[0], BaseException):
        error = error.args[0]
    return " ".join(str(error.args[-1] if error.args else error).split())


def _last_line(error: BaseException) -> str:
    """Return what an error says in its last line: before it, some have the traceback of a config."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)


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
    platform.keep_memory()
    plan = config.parse(CONFIG.value)
    workdir = _path(WORKDIR.value or _default_workdir())
    kind, screen = _kind(plan)
    folders = (value and str(_path(value)) for value in (DATA_DIR.value, MANUAL_DIR.value))
    found = getattr(kind, mode)(plan, workdir, *folders)
    if devices.is_primary():
        print(screen(found))
        print(f"  results, checkpoints, pictures and logs: {workdir}")


def _kind(plan: plans.Experiment | plans.Table1 | plans.Table2) -> tuple[ModuleType, Callable[[Any], str]]:
    """Return the module that trains and tests a plan, and what makes text of what it returns.

    They are imported here, so that predicting starts without all that training needs.
    """
    from cxr_jax import experiment, results, table1, table2

    kinds = {
        plans.Experiment: (experiment, results.screen),
        plans.Table1: (table1, table1.screen),
        plans.Table2: (table2, table2.screen),
    }
    return kinds[type(plan)]


def _default_workdir() -> str:
    """Return runs/ and the config's file name and preset, such as runs/transfer_phantom."""
    path, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return f"runs/{'_'.join(filter(None, [Path(path).stem, preset]))}"


def predict() -> None:
    """Make masks; exit with 1 if a file was skipped."""
    _require("predict", "input", "output")
    if OVERWRITE.value and RESUME.value:
        raise app.UsageError("expected --overwrite or --resume, found both: the first begins anew, the second goes on")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of the table, which is kept
    models = _checkpoints() or compact.shipped()
    if not models:
        _require("predict", "checkpoint")
    skipped = prediction.predict(
        models,
        _path(INPUT.value),
        _path(OUTPUT.value),
        tidy=TIDY.value,
        mask_format=MASK_FORMAT.value,
        overwrite=OVERWRITE.value,
        resume=RESUME.value,
    )
    print(f"masks, overlays and {prediction.TABLE}: {OUTPUT.value}")
    if skipped:
        print(f"skipped: {skipped}; {prediction.TABLE} says why")
        sys.exit(1)


def export() -> None:
    """Make each model a file that JAX runs without this project."""
    _require("export", "checkpoint", "output")
    for path in exported.write(_checkpoints(), _path(OUTPUT.value), OVERWRITE.value):
        print(path)


def _checkpoints() -> list[Path]:
    """Return the models that were named; raise `UsageError` where the flag was given and names none."""
    named = [path for given in CHECKPOINTS.value or () for path in given]
    if CHECKPOINTS.value is not None and not (named and all(named)):
        raise app.UsageError("expected work directories after --checkpoint=, found none")
    return [_path(path) for path in named]


def _path(value: str) -> Path:
    """Return a path that was given, `~` in front of which no shell expands after `=`."""
    return Path(value).expanduser()


def _require(mode: str, *names: str) -> None:
    """Raise `UsageError` where a flag that the mode needs was not given."""
    for name in names:
        if not flags.FLAGS[name].value:
            told = flags.FLAGS[name].help.splitlines()[0].rstrip(";")  # absl adds a line of its own
            raise app.UsageError(f"--mode={mode} needs --{name}: {told}")
