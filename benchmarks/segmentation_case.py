"""One training step of a segmenter, ours and a peer's, on the same data from the same weights.

PyTorch is loaded where a peer is asked for.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks import images
from benchmarks.programs import Program
from cxr_jax import losses, optimisers, segmentation
from cxr_jax import segmentation_steps as steps
from cxr_jax.data import sampling
from cxr_jax.data.augmentation import Augmentation
from cxr_jax.models import SEGMENTERS, initialise
from cxr_jax.plans import SegmenterTraining

if TYPE_CHECKING:
    from benchmarks.peers.segmentation import Segmentation
    from benchmarks.peers.training import Mode

TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}  # of the losses, relative
RATE, BETA1, DECAY = 1e-4, 0.9, 5e-4


@dataclass(frozen=True)
class SegmentationCase:
    """A segmenter of a width on square images; its data are random."""

    segmenter: str
    width: int
    size: int
    batch: int
    precision: str = "float32"

    @cached_property
    def network(self) -> tuple[nnx.GraphDef, Any]:
        """Return graph and variables of ours."""
        return initialise(SEGMENTERS[self.segmenter], jax.random.key(0), self.precision, width=self.width)

    def program(self) -> Program:
        """Return a step of ours, as the project's training takes it."""
        graph, variables = self.network
        optimiser = optimisers.adam(RATE, beta1=BETA1, weight_decay=DECAY, schedule="constant", steps=1)
        settings = SegmenterTraining(1, self.batch, RATE, BETA1, DECAY, "constant", 0.0)
        networks = segmentation.Networks(graph, optimiser, None, None)
        iteration = segmentation.make_iteration(Augmentation.none(), settings, None, networks, new=True)
        data = segmentation.LabelledImages(*map(jnp.asarray, (*images.labelled(self.size), images.COUNT)))
        state = steps.initial_state(steps.learner(graph, variables, optimiser), {}, jax.random.key(0))
        return Program(iteration, state, data)

    @property
    def settings(self) -> "Segmentation":
        """Return what the peer's training is told."""
        from benchmarks.peers.segmentation import Segmentation

        return Segmentation(self.segmenter, self.width, self.batch, (RATE, BETA1, DECAY))

    def check(self, mode: "Mode") -> None:
        """Raise `AssertionError` unless the peer computes the same loss, without dropout, by running statistics."""
        from benchmarks.peers import segmentation as peers
        from benchmarks.peers import training, weights

        graph, variables = self.network
        module = mode.place(weights.load(self.settings.networks(), variables))
        few, masks = (part[:2] for part in images.labelled(self.size))
        network = jax.jit(lambda variables, images: nnx.merge(graph, variables)(sampling.to_network(images)))
        with jax.default_matmul_precision("highest"), training.exactly():
            logits = network(variables, sampling.to_unit(jnp.asarray(few)))
            one = float(losses.cross_entropy(logits, jnp.asarray(masks, jnp.float32)))
            other = peers.loss(module, few, masks, mode.device)
        np.testing.assert_allclose(one, other, rtol=TOLERANCE[self.precision], err_msg="another loss")
