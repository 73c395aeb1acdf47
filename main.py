"""Trains and tests an experiment, predicts masks or exports a model: `python main.py --config=configs/transfer.py`."""

import sys

from absl import app, flags, logging

from cxr_jax import commands, platform, processes
from cxr_jax.errors import UserError

MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "evaluate", "predict", "export"],
    "Train and test, test the checkpoints again, make masks of radiographs, or make a model a file that JAX "
    "runs without this project. The last two need no --config.",
)
for module in (commands, processes):
    flags.adopt_module_key_flags(module)  # so that --help shows their flags too


def main(argv: list[str]) -> None:
    """Check what was asked for, do it, and print the summary."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {' '.join(argv[1:])}; did you mean --config.FIELD=VALUE?")
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)
    commands.require_taken(MODE.value)
    processes.join(MODE.value, together=MODE.value in ("train", "evaluate"))
    platform.use_compilation_cache()
    try:
        getattr(commands, MODE.value)()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("interrupted: to go on, give the same command again; with --mode=predict add --resume to it")


if __name__ == "__main__":
    app.run(main, flags_parser=commands.parse_flags)
