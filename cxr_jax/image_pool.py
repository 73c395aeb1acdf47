"""CycleGAN's history of translated images, from which a discriminator is shown half (Zhu et al. 2017, section 4)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

Gray = Float[Array, "b h w 1"]


class ImagePool(NamedTuple):
    """The translated images that are remembered, and how many of the places are taken."""

    images: Float[Array, "n h w 1"]
    count: Int[Array, ""]


def empty(places: int, height: int, width: int) -> ImagePool:
    """Return a pool with room for `places` images."""
    return ImagePool(jnp.zeros((places, height, width, 1)), jnp.zeros((), jnp.int32))


def exchange(pool: ImagePool, images: Gray, key: PRNGKeyArray) -> tuple[ImagePool, Gray]:
    """Return the pool after a batch, and the batch that the discriminator is shown.

    While there is room, an image is remembered and shown. Afterwards each is, with equal chances, shown and
    forgotten, or takes the place of a remembered one, which is shown instead.
    """
    places = len(pool.images)

    def one(pool: ImagePool, draw: tuple[Array, Array]) -> tuple[ImagePool, Array]:
        image, key = draw
        key_place, key_swap = jax.random.split(key)
        room = pool.count < places
        place = jnp.where(room, pool.count, jax.random.randint(key_place, (), 0, places))
        old = pool.images[place]
        swap = jax.random.bernoulli(key_swap)
        kept = pool.images.at[place].set(jnp.where(room | swap, image, old))
        shown = jnp.where(~room & swap, old, image)
        return ImagePool(kept, jnp.minimum(pool.count + 1, places)), shown

    return jax.lax.scan(one, pool, (images, jax.random.split(key, len(images))))
