"""Trains and tests one experiment: `python main.py --config=configs/transfer.py --config.label_frac=0.0`."""

import os
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from cxr_jax import checkpoints, config, experiment, plans, platform, results, table1, table2
from cxr_jax.data.radiographs import DatasetError
from cxr_jax.training import TrainingDiverged

CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file in configs/.")
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where checkpoints, logs and results go; by default runs/ and the name of the config."
)
MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Train and test, or test the checkpoints again.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", os.environ.get("TFDS_DATA_DIR"), "Where prepared datasets are; by default TFDS's own folder."
)
MANUAL_DIR = flags.DEFINE_string(
    "manual_dir",
    os.environ.get("CXR_MANUAL_DIR"),
    "The folder whose sub-folders jsrt/ and montgomery/ hold the official downloads.",
)

USER_ERRORS = (
    config.ConfigError,
    experiment.WorkdirError,
    DatasetError,
    checkpoints.CheckpointError,
    TrainingDiverged,
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
    platform.use_compilation_cache()
    try:
        plan = config.parse(CONFIG.value)
        workdir = Path(WORKDIR.value or default_workdir())
        kind, screen = KINDS[type(plan)]
        run = {"train": kind.train, "evaluate": kind.evaluate}[MODE.value]
        summary = screen(run(plan, workdir, DATA_DIR.value, MANUAL_DIR.value))
    except USER_ERRORS as error:
        raise app.UsageError(str(error)) from error
    print(summary)
    print(f"  results, checkpoints, pictures and logs: {workdir}")


def default_workdir() -> Path:
    """Return runs/ and the config's file name and preset, such as runs/transfer_phantom."""
    path, _, preset = flags.FLAGS["config"].config_filename.partition(":")
    return Path("runs") / "_".join(filter(None, [Path(path).stem, preset]))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    app.run(main)
