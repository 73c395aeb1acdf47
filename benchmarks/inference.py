"""Masks of a U-Net and of a transferred model, for each image, against PyTorch's: `python -m benchmarks.inference`."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app

from benchmarks import images, measure, networks
from benchmarks.transfer_case import TransferCase
from cxr_jax import evaluation
from cxr_jax.networks import probability
from cxr_jax.steps import Graphs
from cxr_jax.views import Views

if TYPE_CHECKING:
    from benchmarks.peers.training import Mode

MODELS = {"M_A": False, "M_A after G_BA": True}  # and whether images are translated first
TOLERANCE = {"float32": 2e-3, "bfloat16": 3e-2}  # of probabilities


def main(_: list[str]) -> None:
    """Measure both models; an image's time is a share of that of all stored ones, in batches."""
    from benchmarks.peers import training

    case = networks.transfer()
    stored = images.unlabelled(case.size)
    for model, translated in MODELS.items():
        peers = {mode.name: peer(case, translated, mode, stored) for mode in training.modes(jax.default_backend())}
        times = measure.race({"ours": ours(case, translated, stored), **peers})
        shape = {name: value for name, value in dataclasses.asdict(case).items() if name != "sizes"}
        measure.report("inference", {"model": model, **shape}, times, len(stored))


def ours(case: TransferCase, translated: bool, stored: np.ndarray) -> Callable[[], None]:
    """Return a call that makes masks of all images, as `cxr_jax.inference` does."""
    graphs, _ = case.networks
    soften, variables = _soften(graphs, translated), _variables(case, translated)

    def predict(few: np.ndarray) -> jax.Array:
        return soften(variables, few) > 0.5

    return lambda: jax.block_until_ready(evaluation.in_batches(predict, stored, size=case.batch))


def peer(case: TransferCase, translated: bool, mode: "Mode", stored: np.ndarray) -> Callable[[], None]:
    """Return the peer's call, once both have been seen to give the same probabilities of a batch."""
    from benchmarks.peers import inference, training

    graphs, _ = case.networks
    theirs, few = case.peer_networks(mode), stored[: case.batch]
    soften = _soften(graphs, translated)
    with jax.default_matmul_precision("highest"), training.exactly():
        one = soften(_variables(case, translated), few)
        other = inference.probabilities(theirs, few, translated, mode.device)
    np.testing.assert_allclose(one, other, atol=TOLERANCE[case.precision], err_msg="other probabilities")
    return inference.masks(mode, theirs, stored, case.batch, translated)


def _soften(graphs: Graphs, translated: bool) -> Callable[[Any, np.ndarray], jax.Array]:
    return Views(graphs, "a").target_probability if translated else probability(graphs.segmenter)


def _variables(case: TransferCase, translated: bool) -> dict[str, Any]:
    _, parameters = case.networks
    style = jnp.zeros((1, case.experiment.translator["style"]))
    return {**parameters, "reference": dict.fromkeys("ab", style)} if translated else parameters["segmenter"]


if __name__ == "__main__":
    app.run(main)
