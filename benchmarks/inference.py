"""Masks of a U-Net and of a transferred model, for each image, against PyTorch's: `python -m benchmarks.inference`."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags

from benchmarks import measure
from benchmarks.peers import training
from benchmarks.transfer_case import TransferCase
from cxr_jax import evaluation, segmentation
from cxr_jax.views import Views

DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")
MODELS = ("M_A", "M_A after G_BA")


def main(_: list[str]) -> None:
    """Measure both models; an image's time is a share of that of all stored ones, in batches."""
    case = TransferCase("default", DIVIDED.value, measure.SIZE.value, measure.BATCH.value)
    images = np.asarray(case.data.b)
    for model in MODELS:
        peers = {mode.name: peer(case, model, mode, images) for mode in training.modes()}
        times = measure.race({"ours": ours(case, model, images), **peers})
        shape = {"model": model, "divided": case.divided, "size": case.size, "batch": case.batch}
        measure.report("inference", shape, times, len(images))


def ours(case: TransferCase, model: str, images: np.ndarray) -> Callable[[], None]:
    """Return a call that makes masks of all images, as `cxr_jax.inference` does."""
    graphs, parameters = case.networks
    if model == "M_A":
        predict = partial(segmentation.predictor(graphs.segmenter), parameters["segmenter"])
    else:
        views = Views(graphs, "a")
        style = {domain: jnp.zeros((1, case.experiment.translator["style"])) for domain in "ab"}
        predict = partial(views.segment_target, {**parameters, "reference": style})
    return lambda: jax.block_until_ready(evaluation.in_batches(predict, images, size=case.batch))


def peer(case: TransferCase, model: str, mode: training.Mode, images: np.ndarray) -> Callable[[], None]:
    """Return the peer's call; its images wait on the host as ours do."""
    networks = case.peer_networks(mode).eval()
    style = torch.zeros(case.batch, case.experiment.translator["style"], device=training.device())

    @mode.function
    def forward(x: torch.Tensor) -> torch.Tensor:
        if model != "M_A":
            x = networks.translator.a.decode(networks.translator.b.content(x), style)
        return networks.segmenter(x) > 0

    def call() -> None:
        with torch.inference_mode(), mode.precision():
            masks = [forward(training.to_network(training.stored(part))) for part in np.split(images, parts)]
            torch.cat(masks)
        training.finish()

    parts = len(images) // case.batch
    return call


if __name__ == "__main__":
    app.run(main)
