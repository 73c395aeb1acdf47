"""Models of finished runs to the weights that the package ships, and what these are worth.

`python -m cxr_jax.ship --segmenter WORKDIR --segmenter WORKDIR --translator WORKDIR` writes `cxr_jax/weights/ORGAN.npz`
and `translator.npz`, tests the segmenters as they lie there on their datasets' test images, and keeps the figures in
`docs/results/shipped.json`.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_jax import compact, config, datasets, inference, inversion, model_rows, platform, plausibility, results
from cxr_jax.compact import WEIGHTS, shipped
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.files import write_json
from cxr_jax.predictor import Predictor
from cxr_jax.report.shipped import FILE

METRICS = ("jaccard", "dice", "jaccard_tidied")


class ShipError(ValueError):
    """A model that cannot be shipped; the message says what was expected."""


def segmenter(workdir: Path, folder: Path = WEIGHTS) -> Path:
    """Write the segmenter of a finished run; raise `ShipError` for one that does not read images as they are."""
    found = inference.restore(workdir)
    if found.translates:
        raise ShipError(f"{workdir} segments translated images: expected a model that reads images as they are")
    model = found.model["segmenter"] if "translator" in found.model else found.model
    return _write(folder / f"{found.experiment.task}{compact.SUFFIX}", model, found.stage, found, workdir)


def translator(workdir: Path, folder: Path = WEIGHTS) -> Path:
    """Write the translator of a finished run."""
    found = inference.restore(workdir / "transfer")
    path = folder / f"{inference.TRANSLATOR}{compact.SUFFIX}"
    return _write(path, found.model["translator"], inference.TRANSLATOR, found, workdir)


def _write(path: Path, model: Any, stage: str, found: Predictor, workdir: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    trained = json.loads((workdir / results.FILE).read_text())
    about = {"stage": stage, "epoch": found.epoch, "config": config.to_json(found.experiment)}
    if found.shape is not None:
        about["shape"] = found.shape.plain()
    compact.write(
        path, model, about | {"trained": {name: trained[name] for name in ("command", "commit", "device", "data")}}
    )
    return path


def measure(path: Path, data_dir: str | None, manual_dir: str | None) -> list[dict[str, Any]]:
    """Return a row for each dataset: what a shipped segmenter's masks of its test images are worth."""
    model = inference.restore(path)
    data = datasets.load(model.experiment, data_dir, manual_dir)
    tests = {"source": data.source[data.source_split.test], "target": data.target[data.target_split.test]}
    return [_row(path, model, images, model.shape or data.shape()) for images in tests.values()]


def _row(path: Path, model: Predictor, images: Radiographs, shape: plausibility.Shape) -> dict[str, Any]:
    found = results.tested(model, images, shape)
    described = results.describe(model.experiment)
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "weights": model.fingerprint,
        "organ": model.experiment.task,
        "dataset": images.name,
        "images": len(images),
        **{name: _brief((found.scores or {}).get(name)) for name in METRICS},
        "plausible": found.plausible["count"],
        "expected_jaccard": found.expected["mean"],
        "seem_inverted": _inverted(model, images),
        **{
            name: described[name]
            for name in ("command", "config", "seed", "commit", "device", "versions", "image_size")
        },
        "trained": compact.read_about(path)["trained"],
        "data": {images.name: images.fingerprint()},
    }


def _inverted(model: Predictor, images: Radiographs) -> dict[str, int] | None:
    """Return how many images seem inverted, and how many of their negatives, to the model that is asked for it."""
    if model.experiment.task != inversion.ORGAN:
        return None
    shown = {"images": [*images.images[..., 0]], "negatives": [*(255 - images.images[..., 0])]}
    return {
        name: int(inversion.inverted(model, these, [*model.find(these, tidy=True)], tidy=True).sum())
        for name, these in shown.items()
    }


def _brief(metric: Mapping[str, Any] | None) -> dict[str, float] | None:
    return None if metric is None else {name: metric[name] for name in ("mean", "std")}


def main() -> None:
    """Write the files, and the figures of all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--segmenter", metavar="WORKDIR", action="append", default=[], type=Path)
    parser.add_argument("--translator", metavar="WORKDIR", type=Path)
    model_rows.add_data_flags(parser)
    arguments = parser.parse_args()
    platform.use_compilation_cache()
    for workdir in arguments.segmenter:
        print(segmenter(workdir))
    if arguments.translator is not None:
        print(translator(arguments.translator))
    rows = [row for path in shipped() for row in measure(path, arguments.data_dir, arguments.manual_dir)]
    write_json(Path("docs/results") / FILE, rows)


if __name__ == "__main__":
    main()
