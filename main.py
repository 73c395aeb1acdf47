"""Trains and tests an experiment, predicts masks or exports a model: `python main.py --config=configs/transfer.py`."""

import os
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from cxr_jax import (
    checkpoints,
    commands,
    config,
    devices,
    experiment,
    exported,
    inputs,
    plans,
    platform,
    prediction,
    processes,
    results,
    runs,
    table1,
    table2,
)
from cxr_jax.data.radiographs import DatasetError
from cxr_jax.training import TrainingDiverged
from tfds_builders.isolation import StartError

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
DATA_DIR = flags.DEFINE_string(
    "data_dir", os.environ.get("TFDS_DATA_DIR"), "Where prepared datasets are; by default TFDS's own folder."
)
MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    os.environ.get("CXR_MANUAL_DIR"),
    "The folder whose sub-folders jsrt/ and montgomery/ hold the official downloads.",
)
for module in (commands, processes):
    flags.adopt_module_key_flags(module)  # so that --help shows their flags too

USER_ERRORS = (
    config.ConfigError,
    runs.WorkdirError,
    DatasetError,
    checkpoints.CheckpointError,
    TrainingDiverged,
    inputs.InputError,
    prediction.PredictionError,
    StartError,
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
    command = {"predict": commands.predict, "export": commands.export}.get(MODE.value)
    processes.join(MODE.value, together=command is None)
    platform.use_compilation_cache()
    try:
        (command or train_or_evaluate)()
    except USER_ERRORS as error:
        raise app.UsageError(str(error)) from error


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


def default_workdir() -> Path:
    """Return runs/ and the config's file name and preset, such as runs/transfer_phantom."""
    path, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(path).stem, preset]))


if __name__ == "__main__":
    app.run(main)
