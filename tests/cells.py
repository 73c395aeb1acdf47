"""Rows of Table II, for tests of what is made of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def cell(
    method: str = "transfer",
    label_frac: float = 0.0,
    mean: float = 90.0,
    backend: str = "munit",
    images: int = 28,
    scores: Sequence[float] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Return a row whose images have `scores`, or without them scores about `mean`; `changes` replace fields."""
    if scores is None:
        noise = np.random.default_rng([len(method), int(1e4 * label_frac)]).normal(0, 2, images)
        scores = (mean + noise - noise.mean()).tolist()
    else:
        mean = sum(scores) / len(scores)
    metric = {"mean": mean, "std": 2.0, "per_image": {f"m{index}": score for index, score in enumerate(scores)}}
    sane = {image: index < 25 for index, image in enumerate(metric["per_image"])}
    return {
        "method": method,
        "backend": backend if method == "transfer" else None,
        "segmenter": "unet",
        "task": "lungs",
        "source": "jsrt",
        "target": "montgomery",
        "config": {"task": "lungs", "method": method, "translator": {"name": backend}, "pretraining": {"epochs": 5}},
        "data": {},
        "label_frac": label_frac,
        "labelled_images": round(82 * label_frac),
        "image_size": 128,
        "protocol": "paper",
        "seed": 0,
        "converged": True if method == "transfer" else None,
        "restarts": 0 if method == "transfer" else None,
        "plausible": {"count": sum(sane.values()), "images": len(scores), "per_image": sane},
        "device": "cpu",
        "commit": "c",
        "jaccard": metric,
        "dice": metric,
        **changes,
    }
