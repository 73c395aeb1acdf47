"""Trains and tests an experiment, predicts masks or exports a model: `python main.py --config=configs/transfer.py`."""

import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from cxr_jax import (
    checkpoints,
    config,
    devices,
    experiment,
    exported,
    plans,
    platform,
    prediction,
    results,
    runs,
    ship,
    table1,
    table2,
)
from cxr_jax.data.radiographs import DatasetError
from cxr_jax.training import TrainingDiverged

CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file in configs/.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where checkpoints, logs and results go; by default runs/ and the name of the config."
)
MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict", "export"],
    "Train and test, test the checkpoints again, make masks of radiographs, or make a model a file that JAX alone "
    "runs. The last two need no --config.",
)
CHECKPOINTS = flags.DEFINE_list(
    "checkpoint",
    None,
    "Work directories to predict with or to export, each of another organ; without any, the weights that ship predict.",
)
INPUT = flags.DEFINE_string("input", None, "A radiograph or a folder of them: PNG, JPEG, TIFF, DICOM.")
OUTPUT = flags.DEFINE_string("output", None, "Where masks, overlays and measurements go, or exported models.")
TIDY = flags.DEFINE_bool("tidy", True, "Keep a mask's largest parts alone, and fill their holes.")
MASK_FORMAT = flags.DEFINE_enum("mask_format", "png", list(prediction.FORMATS), "The files of masks.")
OVERWRITE = flags.DEFINE_bool("overwrite", False, "Replace what is in --output already.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", os.environ.get("TFDS_DATA_DIR"), "Where prepared datasets are; by default TFDS's own folder."
)
COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Train in several processes: where the first listens, HOST:PORT, or `auto` where the cluster says (Slurm, MPI).",
)
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0; all share --workdir.", lower_bound=0)
MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    os.environ.get("CXR_MANUAL_DIR"),
    "The folder whose sub-folders jsrt/ and montgomery/ hold the official downloads.",
)

USER_ERRORS = (
    config.ConfigError,
    runs.WorkdirError,
    DatasetError,
    checkpoints.CheckpointError,
    TrainingDiverged,
    prediction.PredictionError,
    exported.ExportError,
)

KINDS = {
    plans.Experiment: (experiment, results.screen),
    plans.Table1: (table1, table1.screen),
    plans.Table2: (table2, table2.screen),
}


def main(argv: list[str]) -> None:
    """Check what was asked for, do it, and print the summary."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}; did you mean --config.FIELD=VALUE?")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    join()
    platform.use_compilation_cache()
    try:
        MODES.get(MODE.value, train_or_evaluate)()
    except USER_ERRORS as error:
        raise app.UsageError(str(error)) from error


def join() -> None:
    """Join the other processes, if there are any."""
    alone = COORDINATOR.value is None
    if alone and (PROCESSES.value, PROCESS.value) != (None, None):
        raise app.UsageError("--processes and --process need --coordinator, the address of the first process")
    if alone:
        return
    if MODE.value in MODES:
        raise app.UsageError(f"--mode={MODE.value} runs in one process: leave --coordinator out")
    if COORDINATOR.value != "auto" and not (PROCESS.value or 0) < (PROCESSES.value or 0):
        raise app.UsageError(
            f"--coordinator={COORDINATOR.value} needs --processes and, below that, --process; "
            f"found {PROCESSES.value} and {PROCESS.value}"
        )
    devices.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)


def train_or_evaluate() -> None:
    """Do what the config says, and print the summary."""
    if CONFIG.value is None:
        raise app.UsageError(f"--mode={MODE.value} needs --config, a file in configs/")
    plan = config.parse(CONFIG.value)
    workdir = Path(WORKDIR.value or default_workdir())
    kind, screen = KINDS[type(plan)]
    run = {"train": kind.train, "evaluate": kind.evaluate}[MODE.value]
    found = run(plan, workdir, DATA_DIR.value, MANUAL_DIR.value)
    if devices.is_primary():
        print(screen(found))
        print(f"  results, checkpoints, pictures and logs: {workdir}")


def predict() -> None:
    """Make masks; exit with 1 if a file was skipped."""
    require("input", "output")
    models = [Path(directory) for directory in CHECKPOINTS.value or ()] or ship.shipped()
    if not models:
        require("checkpoint")
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
    """Make each model a file."""
    require("checkpoint", "output")
    for directory in CHECKPOINTS.value:
        print(exported.write(Path(directory), Path(OUTPUT.value), OVERWRITE.value))


def require(*names: str) -> None:
    """Raise `UsageError` where a flag that the mode needs was not given."""
    for name in names:
        if not flags.FLAGS[name].value:
            raise app.UsageError(f"--mode={MODE.value} needs --{name}: {flags.FLAGS[name].help}")


def default_workdir() -> Path:
    """Return runs/ and the config's file name and preset, such as runs/transfer_phantom."""
    path, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(path).stem, preset]))


MODES = {"predict": predict, "export": export}


if __name__ == "__main__":
    app.run(main)
