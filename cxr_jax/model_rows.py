"""What is measured of trained models, outside of their own runs, as rows of a file in `docs/results`."""

import argparse
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_jax import platform
from cxr_jax.files import read_json, write_json

Row = Mapping[str, Any]
Measure = Callable[[str, Path, str | None, str | None], Sequence[Row]]  # of name, workdir, data_dir and manual_dir


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add where prepared data lie and where downloads do, which environment variables say by default."""
    parser.add_argument("--data_dir", default=os.environ.get("TFDS_DATA_DIR"))
    parser.add_argument("--manual_dir", default=os.environ.get("CXR_MANUAL_DIR"))


def keep(
    about: str,
    file: str,
    measure: Measure,
    key: Callable[[Row], tuple[Hashable, ...]],
    told: Callable[[Row], str],
) -> None:
    """Measure the models that the command line names, and put their rows in place of older ones of the same `key`.

    `about` is the command's help; what a row says on the screen is `told`. The rows of a model are written before the
    next one is measured.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="NAME=WORKDIR", action="append", required=True)
    add_data_flags(parser)
    arguments = parser.parse_args()
    models = [pair.partition("=") for pair in arguments.model]
    for pair, (name, _, workdir) in zip(arguments.model, models, strict=True):
        if not name or not workdir:
            parser.error(f"expected --model NAME=WORKDIR, found {pair!r}")
    platform.use_compilation_cache()
    path = Path("docs/results") / file
    kept = {key(row): row for row in read_json(path, [])}
    for name, _, workdir in models:
        for row in measure(name, Path(workdir), arguments.data_dir, arguments.manual_dir):
            kept[key(row)] = row
            print(f"{name}, seed {row['seed']}: {told(row)}")
        write_json(path, [kept[place] for place in sorted(kept)])
