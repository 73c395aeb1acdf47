"""One training step of a segmenter, ours and a peer's, on the same data from the same weights."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch.nn.functional as F
from flax import nnx

from benchmarks.peers import training, weights
from benchmarks.peers.segmenters import SEGMENTERS as PEERS
from cxr_jax import losses, optimisers, platform, segmentation
from cxr_jax import segmentation_steps as steps
from cxr_jax.data import sampling
from cxr_jax.data.augmentation import Augmentation
from cxr_jax.models import SEGMENTERS, initialise
from cxr_jax.plans import SegmenterTraining

IMAGES = 64  # stored, of which each step draws a batch
TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}  # of the losses, relative: convolutions of a GPU round to TF32
RATE, BETA1, DECAY = 1e-4, 0.9, 5e-4

Call = Callable[[], None]


@dataclass(frozen=True)
class SegmentationCase:
    """A segmenter of a width on square images; its data are random."""

    segmenter: str
    width: int
    size: int
    batch: int
    precision: str = "float32"

    @cached_property
    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images in [0, 255] and masks in {0, 1}, uint8 `n h w 1`."""
        images = np.random.default_rng(0).integers(0, 256, (IMAGES, self.size, self.size, 1), np.uint8)
        return images, (images > 127).astype(np.uint8)

    @cached_property
    def network(self) -> tuple[nnx.GraphDef, Any]:
        """Return graph and variables of ours."""
        return initialise(SEGMENTERS[self.segmenter], jax.random.key(0), self.precision, width=self.width)

    def ours(self, number: int) -> Call:
        """Return a call that takes `number` steps, as the project's training does."""
        graph, variables = self.network
        optimiser = optimisers.adam(RATE, beta1=BETA1, weight_decay=DECAY, schedule="constant", steps=1)
        settings = SegmenterTraining(1, self.batch, RATE, BETA1, DECAY, "constant", 0.0)
        networks = segmentation.Networks(graph, optimiser, None, None)
        iteration = segmentation.make_iteration(Augmentation.none(), settings, None, networks, new=True)
        run = platform.epoch_runner(iteration, number)
        data = segmentation.LabelledImages(*map(jnp.asarray, (*self.data, IMAGES)))
        held = [steps.initial_state(steps.learner(graph, variables, optimiser), {}, jax.random.key(0))]

        def call() -> None:
            held[0], metrics = run(held[0], data)
            jax.block_until_ready((held[0], metrics))

        return call

    def peer(self, mode: training.Mode, number: int) -> Call:
        """Return a call that takes `number` steps of the peer, once both have been seen to compute the same loss."""
        module = mode.place(weights.load(PEERS[self.segmenter](self.width), self.network[1]))
        self._check(module)
        optimiser = mode.optimiser(module.train(), RATE, BETA1, DECAY)
        images, masks = map(training.stored, self.data)

        @mode.function
        def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            with mode.precision():
                return F.binary_cross_entropy_with_logits(module(x).float(), y)

        def call() -> None:
            for _ in range(number):
                x, rows = training.draw(images, self.batch)
                training.descend(optimiser, loss(x, masks[rows].float()))
            training.finish()

        return call

    def _check(self, module: torch.nn.Module) -> None:
        """Raise `AssertionError` unless both compute the same loss, without dropout, by running statistics."""
        graph, variables = self.network
        images, masks = (part[:2] for part in self.data)
        logits = nnx.merge(graph, variables)(sampling.to_network(sampling.to_unit(jnp.asarray(images))))
        one = losses.cross_entropy(logits, jnp.asarray(masks, jnp.float32))
        with torch.no_grad():
            theirs = module.eval()(training.to_network(training.stored(images)))
            other = F.binary_cross_entropy_with_logits(theirs, training.stored(masks).float())
        np.testing.assert_allclose(float(one), float(other), rtol=TOLERANCE[self.precision], err_msg="another loss")
