"""What an organ's masks look like, learned from the source's: a network that mends masks with faults.

A denoising autoencoder, as in Post-DAE (Larrazabal et al. 2020), but with a segmenter's network, which sees a spoilt
mask in place of a radiograph. It corrects what teaches M_A in self-training: of a lung that disease has whitened, M_A
draws the dark part, as nothing in the source looks like the rest; what a lung looks like, masks alone can tell.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, UInt8

from cxr_jax.data import sampling, spoiling
from cxr_jax.data.radiographs import Radiographs

SURE = 0.9  # how probable something else must be for a pixel to change

Masks = Bool[Array, "b s s 1"]
Draw = Callable[[UInt8[np.ndarray, "b s s 1"]], Bool[np.ndarray, "b s s 1"]]


def to_learn_from(source: Radiographs) -> Radiographs:
    """Return masks as images of themselves, which training spoils."""
    return replace(source, images=255 * source.masks)


def to_judge_by(source: Radiographs) -> Radiographs:
    """Return masks with images of them that are spoilt, always alike."""
    spoilt = spoiling.spoil(jax.random.key(0), jnp.asarray(source.masks, jnp.float32))
    return replace(source, images=255 * np.asarray(spoilt, np.uint8))


class Prior(NamedTuple):
    """What was learned: a network and its variables."""

    graph: nnx.GraphDef
    variables: Any

    def correct(self, masks: Masks) -> Masks:
        """Return masks in which those pixels are changed that the network is sure of."""
        network = nnx.merge(self.graph, self.variables)
        probability = jax.nn.sigmoid(network(sampling.to_network(masks.astype(jnp.float32))))
        return jnp.where(masks, probability > 1.0 - SURE, probability > SURE)

    def correcting(self, draw: Draw) -> Draw:
        """Return what draws as `draw` does, and corrects."""
        correct = jax.jit(lambda variables, masks: Prior(self.graph, variables).correct(masks))
        return lambda images: np.asarray(correct(self.variables, jnp.asarray(draw(images))))
