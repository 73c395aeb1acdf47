"""The networks, by the names that configs use."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, traverse_util
from jaxtyping import PRNGKeyArray

from cxr_jax.models.cyclegan import CycleGAN
from cxr_jax.models.discriminator import MultiScaleDiscriminator
from cxr_jax.models.ensemble import Ensemble
from cxr_jax.models.fcn import FCN
from cxr_jax.models.invertednet import InvertedNet
from cxr_jax.models.munit import MUNIT, DatasetStyleMUNIT
from cxr_jax.models.scan import SCAN, SCANCritic
from cxr_jax.models.segnet import SegNet
from cxr_jax.models.translator import Translator
from cxr_jax.models.unet import UNet
from cxr_jax.models.unit import UNIT

__all__ = [
    "CRITICS",
    "DISCRIMINATORS",
    "PRECISIONS",
    "SEGMENTERS",
    "TRANSLATORS",
    "Ensemble",
    "Translator",
    "initialise",
    "join",
    "split_statistics",
]

SEGMENTERS = {"unet": UNet, "fcn": FCN, "segnet": SegNet, "invertednet": InvertedNet, "scan": SCAN}
TRANSLATORS: dict[str, type[Translator]] = {
    "munit": MUNIT,
    "munit_dataset_style": DatasetStyleMUNIT,
    "unit": UNIT,
    "cyclegan": CycleGAN,
}
CRITICS = {"scan": SCANCritic}
DISCRIMINATORS = {"patch": MultiScaleDiscriminator}
PRECISIONS = ("float32", "bfloat16")


def initialise(
    architecture: type[nnx.Module], key: PRNGKeyArray | None, precision: str = "float32", **sizes: Any
) -> tuple[nnx.GraphDef, dict[str, Any]]:
    """Build a network; return its static graph and its variables as a plain nested dict of arrays.

    The variables are its parameters and, where it has batch norm, its running statistics; another kind is a
    ValueError. `nnx.merge(graph, variables)` is the network again, inside a trace too. All parameters are drawn
    in one program, which is seldom run and therefore compiled without optimisation. Without a key nothing is
    drawn, and shapes stand for the arrays: enough to restore a checkpoint into.

    `precision` is the type in which the layers compute, a name of `PRECISIONS`; whatever it is, variables, the sums
    behind a normalisation and what the network returns are of 32 bits.
    """
    graph, shapes, draw = _outlined(architecture, precision, tuple(sorted(sizes.items())))
    return graph, jax.tree.map(lambda shape: shape, shapes) if key is None else draw(key)


@functools.cache
def _outlined(
    architecture: type[nnx.Module], precision: str, sizes: tuple[tuple[str, Any], ...]
) -> tuple[nnx.GraphDef, dict[str, Any], Callable[[PRNGKeyArray], dict[str, Any]]]:
    """Return a network's graph, the shapes of its variables, and what draws them."""

    def make(key):
        module = architecture(**dict(sizes), rngs=nnx.Rngs(params=key))
        module.set_attributes(dtype=jnp.dtype(precision), raise_if_not_found=False)
        graph, parameters, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)
        return graph, nnx.merge_state(parameters, statistics)

    graph, shapes = nnx.eval_shape(make, jax.random.key(0))
    options = {"xla_backend_optimization_level": 0}
    draw = jax.jit(lambda key: nnx.to_pure_dict(make(key)[1]), compiler_options=options)
    return graph, nnx.to_pure_dict(shapes), draw


def split_statistics(graph: nnx.GraphDef, variables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a network's variables into its parameters, which are learned, and its batch statistics.

    Statistics are an empty dict where the network has none. Leaves may be arrays, tracers or shapes.
    """
    _, parameters, statistics = nnx.split(nnx.merge(graph, variables), nnx.Param, nnx.BatchStat)
    return nnx.to_pure_dict(parameters), nnx.to_pure_dict(statistics)


def join(parameters: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
    """Return the variables that `split_statistics` split."""
    flat = traverse_util.flatten_dict(parameters) | traverse_util.flatten_dict(statistics)
    return traverse_util.unflatten_dict(flat)
