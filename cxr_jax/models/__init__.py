"""The networks, by the names that configs use."""

from flax import nnx

from cxr_jax.models.discriminator import MultiScaleDiscriminator
from cxr_jax.models.munit import MUNIT
from cxr_jax.models.unet import UNet

SEGMENTERS = {"unet": UNet}
TRANSLATORS = {"munit": MUNIT}
DISCRIMINATORS = {"patch": MultiScaleDiscriminator}


def initialise(architecture: type[nnx.Module], seed_key, **sizes) -> tuple[nnx.GraphDef, dict]:
    """Build a network; return its static graph and its parameters as a plain nested dict of arrays.

    `nnx.merge(graph, parameters)` is the network again, inside a trace too.
    """
    graph, parameters = nnx.split(architecture(**sizes, rngs=nnx.Rngs(params=seed_key)), nnx.Param)
    return graph, nnx.to_pure_dict(parameters)
