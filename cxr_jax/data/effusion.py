"""Pleural effusions, drawn into lungs that have none.

JSRT shows next to no lung whose base is white, and what has learned from it ends a lung where the white begins. Masks
of diseased lungs elsewhere go on to where the lung ends. What is drawn here teaches that: an image changes, its mask
does not.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Unit = Float[Array, "b h w 1"]
Plane = Float[Array, "h w"]
Line = Float[Array, " n"]
Share = Float[Array, ""]

DEPTH = (0.05, 0.7)  # how much of a lung's height lies under the level of the fluid
SLOPE = (-0.4, 0.4)  # of that level
SOFTNESS = (1 / 64, 1 / 16)  # of the fluid's surface, as share of the image's height
DENSITY = (0.7, 1.0)  # how much of what it covers the fluid hides
TONE = (0.7, 1.0)  # how bright it is
RIM = 1 / 32  # how far around a lung the fluid fades out, as share of the image's side


def draw(probability: float, key: PRNGKeyArray, images: Unit, lungs: Unit) -> Unit:
    """Return images in [0, 1], bones bright, each of which shows an effusion with a probability: nothing gets darker.

    One lung or both, by the masks `lungs` in {0, 1}, are white from the base up to a level, and so is what is close to
    them. Where a mask is blank, nothing is drawn. Differentiable by the images.
    """
    keys = jax.random.split(key, len(images))
    return jax.vmap(partial(_draw, probability))(keys, images[..., 0], lungs[..., 0])[..., None]


def _draw(probability: float, key: PRNGKeyArray, image: Plane, lungs: Plane) -> Plane:
    *surfaces, side, softness, chance, density, tone = jax.random.uniform(key, (9,))
    h, w = image.shape
    right = jnp.arange(w) / w > _middle(lungs.sum(axis=0) > 0)
    softness = _within(SOFTNESS, softness)
    below = [
        jnp.where(chosen, _below(jnp.where(half, lungs, 0.0), *surface, softness), 0.0)
        for half, chosen, surface in ((right, side < 0.6, surfaces[:2]), (~right, side > 0.4, surfaces[2:]))
    ]
    near = jnp.minimum(1.0, 2.0 * _blur(h) @ lungs @ _blur(w))
    share = jnp.where(chance < probability, _within(DENSITY, density), 0.0)
    return image + share * jnp.where(right, *below) * near * jnp.maximum(_within(TONE, tone) - image, 0.0)


def _below(lung: Plane, depth: Share, slope: Share, softness: Share) -> Plane:
    """Return how much of each pixel is below the level of the fluid in a lung, from 0 to 1, beside the lung too."""
    h, w = lung.shape
    rows, columns = jnp.arange(h) / h, jnp.arange(w) / w
    inside: Bool[Array, " h"] = lung.sum(axis=1) > 0
    top, base = jnp.where(inside, rows, 1.0).min(), jnp.where(inside, rows, 0.0).max()
    tilt = _within(SLOPE, slope) * (columns - _centre(lung.sum(axis=0)))
    return jax.nn.sigmoid((rows[:, None] - (base - _within(DEPTH, depth) * (base - top) + tilt)) / softness)


def _within(limits: tuple[float, float], share: Share) -> Share:
    low, high = limits
    return low + (high - low) * share


def _middle(occupied: Bool[Array, " n"]) -> Share:
    """Return the place, as share of a side, halfway between the first and the last that is occupied."""
    places = jnp.arange(len(occupied)) / len(occupied)
    return 0.5 * (jnp.where(occupied, places, 1.0).min() + jnp.where(occupied, places, 0.0).max())


def _centre(areas: Line) -> Share:
    """Return where, as share of a side, areas along it have their centre."""
    return areas @ (jnp.arange(len(areas)) / len(areas)) / jnp.maximum(areas.sum(), 1.0)


def _blur(side: int) -> Plane:
    """Return the matrix that takes the mean over `RIM` to either side."""
    reach = max(1, round(RIM * side))
    apart = jnp.abs(jnp.arange(side)[:, None] - jnp.arange(side))
    return (apart <= reach) / (2.0 * reach + 1.0)
