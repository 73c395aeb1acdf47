"""A deep ensemble (Lakshminarayanan et al. 2017) as one segmenter: networks of other initial weights, and their mean.

The paper does not have it. Networks that agree on what they have learned from differ on what is unlike it.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray


class Ensemble(nnx.Module):
    """Several segmenters of one architecture, which learn from the same batches, each by its own loss."""

    def __init__(self, network: type[nnx.Module], members: int, *, rngs: nnx.Rngs, **sizes: Any):
        """Make `members` networks of these sizes."""
        self.networks = nnx.List([network(**sizes, rngs=rngs) for _ in range(members)])

    def __call__(
        self, images: Float[Array, "b h w 1"], *, train: bool = False, key: PRNGKeyArray | None = None
    ) -> Float[Array, "*members b h w 1"]:
        """Return the logits of the members' mean probability for images in [-1, 1]; where they `train`, each one's."""
        keys = [None] * len(self.networks) if key is None else jax.random.split(key, len(self.networks))
        logits = jnp.stack(
            [network(images, train=train, key=its) for network, its in zip(self.networks, keys, strict=True)]
        )
        return logits if train else _logit_of_mean(logits)


def _logit_of_mean(logits: Float[Array, "m b h w 1"]) -> Float[Array, "b h w 1"]:
    """Return log(p / (1 - p)) of the mean p of the sigmoids, without leaving the logarithm."""
    organ, rest = (jax.nn.logsumexp(jax.nn.log_sigmoid(sign * logits), axis=0) for sign in (1, -1))
    return organ - rest
