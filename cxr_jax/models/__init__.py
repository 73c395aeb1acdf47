"""The networks, by the names that configs use."""

from typing import Any

import jax
from flax import nnx
from jaxtyping import PRNGKeyArray

from cxr_jax.models.discriminator import MultiScaleDiscriminator
from cxr_jax.models.munit import MUNIT
from cxr_jax.models.unet import UNet

SEGMENTERS = {"unet": UNet}
TRANSLATORS = {"munit": MUNIT}
DISCRIMINATORS = {"patch": MultiScaleDiscriminator}


def initialise(
    architecture: type[nnx.Module], key: PRNGKeyArray | None, **sizes: Any
) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """Build a network; return its static graph and its parameters as a plain nested dict of arrays.

    `nnx.merge(graph, parameters)` is the network again, inside a trace too. All parameters are drawn in one
    program, which is run once and therefore compiled without optimisation. Without a key nothing is drawn, and
    shapes stand for the arrays: enough to restore a checkpoint into.
    """

    def draw(key):
        return nnx.split(architecture(**sizes, rngs=nnx.Rngs(params=key)), nnx.Param)

    graph, shapes = nnx.eval_shape(draw, jax.random.key(0))
    if key is None:
        return graph, nnx.to_pure_dict(shapes)
    options = {"xla_backend_optimization_level": 0}
    return graph, jax.jit(lambda key: nnx.to_pure_dict(draw(key)[1]), compiler_options=options)(key)
