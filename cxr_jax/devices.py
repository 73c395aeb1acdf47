"""Which device computes what: members over one axis of a mesh of all devices, the images of a batch over another.

One device is the case without a mesh. With several processes (`jax.distributed`) each runs the same program on the same
data, and the first alone writes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cxr_jax import platform

AXES = ("members", "batch", "copies")  # devices along the last compute the same

Iteration = Callable[[Any, Any], tuple[Any, Any]]
Epoch = Callable[[Sequence[Any], Sequence[Any]], list[tuple[Any, Any]]]


def epoch_of(iteration: Iteration, steps: int, batch_size: int, members: int) -> Epoch:
    """Return `epoch(states, data)`: `steps` iterations of each member, each with its next state and mean metrics.

    Members must have states and data of the same shapes; the states stay as they are. On one device they advance over a
    leading axis of one program. On several, each device takes a share of the members, and where there are more devices
    than members, of each batch (those that `shard_batch` was applied to): XLA adds up the gradients.
    """
    if jax.device_count() == 1:
        return _on_one_device(iteration, steps, members)
    shape = arrangement(jax.device_count(), members, batch_size)
    mesh = Mesh(np.asarray(jax.devices()).reshape(shape), AXES, axis_types=(AxisType.Auto,) * len(AXES))
    return _on_mesh(iteration, steps, mesh)


def arrangement(count: int, members: int, batch_size: int) -> tuple[int, int, int]:
    """Return how many of `count` devices share the members, a batch, and nothing: their product is `count`.

    Members come first, by the largest number of devices that leaves none over; then a batch, which must be divided
    evenly too.
    """
    for_members = max(size for size in range(1, min(members, count) + 1) if count % size == 0)
    rest = count // for_members
    for_batch = max(size for size in range(1, rest + 1) if rest % size == 0 and batch_size % size == 0)
    return for_members, for_batch, rest // for_batch


def shard_batch(batch: Any) -> Any:
    """Give each device of a member its share of a batch's images: their first axis. One device keeps all."""
    if "batch" not in jax.sharding.get_abstract_mesh().axis_names:
        return batch
    return jax.tree.map(lambda images: jax.lax.with_sharding_constraint(images, P("batch")), batch)


def join(coordinator: str, processes: int | None, process: int | None) -> None:
    """Make this process one of several that train together; it must come before anything else uses JAX.

    `coordinator` is where the first process listens, HOST:PORT, or `auto` where the cluster says who takes part (Slurm,
    MPI); without that, `processes` is their number and `process` which of them this one is, from 0.
    """
    if coordinator == "auto":
        jax.distributed.initialize()
    else:
        jax.distributed.initialize(coordinator, processes, process)


def is_primary() -> bool:
    """Tell whether this process is the one that writes."""
    return jax.process_index() == 0


def wait_for_all(point: str) -> None:
    """Wait until all processes are at this point of the program, so that what the first wrote can be read."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


@contextmanager
def primary_first(point: str) -> Iterator[None]:
    """Let the first process do something alone, whose result on disk the others then find, or fail as it did."""
    if not is_primary():
        wait_for_all(point)
    try:
        yield
    finally:
        if is_primary():
            wait_for_all(point)


def _on_one_device(iteration: Iteration, steps: int, members: int) -> Epoch:
    run = platform.epoch_runner(iteration if members == 1 else jax.vmap(iteration), steps)

    def epoch(states: Sequence[Any], data: Sequence[Any]) -> list[tuple[Any, Any]]:
        if members == 1:
            return [run(_copy(states[0]), data[0])]  # the memory of what it is given becomes that of the next state
        return _unstack(run(_stack(states), _stack(data)), members)

    return epoch


def _on_mesh(iteration: Iteration, steps: int, mesh: Mesh) -> Epoch:
    shares = mesh.shape["members"]

    def share(states: Any, data: Any) -> tuple[Any, Any]:
        """Advance a device's members; a single one is spared the axis, which would make its convolutions grouped."""
        if len(jax.tree.leaves(states)[0]) > 1:
            return jax.vmap(iteration)(states, data)
        alone = iteration(*jax.tree.map(lambda leaf: leaf[0], (states, data)))
        return jax.tree.map(lambda leaf: leaf[None], alone)

    specs = {"in_specs": (P("members"), P("members")), "out_specs": P("members")}
    program = jax.shard_map(share, mesh=mesh, axis_names={"members"}, check_vma=False, **specs)
    run = platform.epoch_runner(jax.jit(program, donate_argnums=0), steps)
    gather = jax.jit(lambda tree: tree, out_shardings=NamedSharding(mesh, P()))

    def epoch(states: Sequence[Any], data: Sequence[Any]) -> list[tuple[Any, Any]]:
        spare = -len(states) % shares  # computed for nothing, so that all shares are equal
        sharding = NamedSharding(mesh, P("members"))
        stacked = [_place(_stack([*trees, *trees[-1:] * spare]), sharding) for trees in (list(states), list(data))]
        with jax.set_mesh(mesh):
            advanced = gather(run(*stacked))
        return _unstack(jax.tree.map(lambda leaf: leaf.addressable_data(0), advanced), len(states))

    return epoch


def _place(tree: Any, sharding: NamedSharding) -> Any:
    """Put a tree that every process has onto the devices of all of them."""
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def place(leaf: jax.Array) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)))
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(place, tree)


# Each of these is one program: a device takes only so many ahead of time.
_copy = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))


@jax.jit
def _stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnums=1)
def _unstack(tree: Any, count: int) -> list[Any]:
    return [jax.tree.map(lambda leaf, place=place: leaf[place], tree) for place in range(count)]
