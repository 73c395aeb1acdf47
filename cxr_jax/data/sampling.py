"""Which images a training step sees: a pure function of key and step, so that resuming changes nothing."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8


def batch_indices(
    key: PRNGKeyArray, step: Int[Array, ""], count: int | Int[Array, ""], batch_size: int, capacity: int | None = None
) -> Int[Array, " b"]:
    """Return the images of batch `step`: endless passes over `count` images, each pass in a new order.

    A batch may span two passes, so every image is seen once a pass whatever the batch size. Where `count` is
    traced, as for members whose folds differ in size, `capacity` is a size that holds all; it changes nothing
    in what is drawn.
    """
    places = jnp.arange(count if capacity is None else capacity)
    position = step * batch_size + jnp.arange(batch_size)

    def pick(place: Int[Array, ""]) -> Int[Array, ""]:
        ranks = jax.random.uniform(jax.random.fold_in(key, place // count), places.shape)
        return jnp.argsort(jnp.where(places < count, ranks, jnp.inf))[place % count]

    return jax.vmap(pick)(position)


def to_unit(images: UInt8[Array, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Scale stored images to [0, 1], where augmentation works."""
    return images.astype(jnp.float32) / 255.0


def to_network(images: Float[Array, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Scale images from [0, 1] to the networks' [-1, 1], the range of the decoders' tanh."""
    return 2.0 * images - 1.0


def from_network(images: Float[Array, "*b h w 1"]) -> Float[Array, "*b h w 1"]:
    """Undo `to_network`."""
    return (images + 1.0) / 2.0
