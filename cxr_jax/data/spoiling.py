"""Masks spoilt as segmenters spoil them: a part cut off, a hole, a blob beside the organ, an outline that wanders."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Masks = Float[Array, "b s s 1"]  # in {0, 1}
Mask = Float[Array, "s s"]
Region = Bool[Array, "s s"]
Place = tuple[Float[Array, ""], Float[Array, ""]]  # row and column, in shares of the side

CUT, BITE, BLOB = 0.35, 0.35, 0.3  # how probable each is
BITE_RADIUS, BLOB_RADIUS = (0.04, 0.25), (0.02, 0.1)  # in shares of the side
LARGEST_CUT = 0.6  # of one side of the body
WAVES = 8  # of a random field along an axis
EDGE_WAVE = 0.03  # how far an edge strays, in shares of the side
OUTLINE_WAVE = 0.15  # how much the outline's level does, in shares of the step from outside to inside


def spoil(key: PRNGKeyArray, masks: Masks) -> Masks:
    """Return masks with random faults; about one in five has none but in its outline."""
    return jax.vmap(_spoil)(jax.random.split(key, len(masks)), masks[..., 0])[..., None]


def _spoil(key: PRNGKeyArray, mask: Mask) -> Mask:
    keys = jax.random.split(key, 5)
    whether = jax.random.uniform(keys[0], (4,)) < jnp.array([CUT, BITE, BLOB, 0.5])
    lost = (whether[0] & _half_of_a_side(keys[1], mask)) | (
        whether[1] & _disc(keys[2], _inside(jax.random.fold_in(keys[2], 1), mask), BITE_RADIUS, mask)
    )
    anywhere = tuple(jax.random.uniform(jax.random.fold_in(keys[3], 1), (2,)))
    found = ((mask > 0) & ~lost) | (whether[2] & _disc(keys[3], anywhere, BLOB_RADIUS, mask))
    return jnp.where(whether[3], _outlined_anew(keys[4], found), found).astype(mask.dtype)


def _half_of_a_side(key: PRNGKeyArray, mask: Mask) -> Region:
    """Return what lies beyond a line through the organ, in the half of the body in which a point of it is."""
    key_point, key_angle, key_wave = jax.random.split(key, 3)
    rows, columns = _grid(len(mask))
    row, column = _inside(key_point, mask)
    middle = (mask * columns).sum() / jnp.maximum(mask.sum(), 1.0)
    side = (columns < middle) == (column < middle)
    angle = jax.random.uniform(key_angle, maxval=2 * jnp.pi)
    along = jnp.cos(angle) * (rows - row) + jnp.sin(angle) * (columns - column)
    cut = side & (along + _field(key_wave, len(mask), EDGE_WAVE) > 0)
    return cut & ((cut * mask).sum() <= LARGEST_CUT * (side * mask).sum())


def _disc(key: PRNGKeyArray, place: Place, radii: tuple[float, float], mask: Mask) -> Region:
    key_radius, key_wave = jax.random.split(key)
    rows, columns = _grid(len(mask))
    away = jnp.hypot(rows - place[0], columns - place[1]) + _field(key_wave, len(mask), EDGE_WAVE)
    return away < jax.random.uniform(key_radius, minval=radii[0], maxval=radii[1])


def _outlined_anew(key: PRNGKeyArray, region: Region) -> Region:
    """Return the region with an outline that goes in and out."""
    side = len(region)
    coarse = jax.image.resize(region.astype(jnp.float32), (side // 4, side // 4), "linear")
    return jax.image.resize(coarse, region.shape, "linear") + _field(key, side, OUTLINE_WAVE) > 0.5


def _inside(key: PRNGKeyArray, mask: Mask) -> Place:
    """Return a random place of the organ; any place where there is none."""
    index = jax.random.categorical(key, jnp.log(jnp.maximum(mask.ravel(), 1e-9)))
    return (index // len(mask) + 0.5) / len(mask), (index % len(mask) + 0.5) / len(mask)


def _field(key: PRNGKeyArray, side: int, most: float) -> Float[Array, "s s"]:
    """Return smooth noise whose deviation is drawn between 0 and `most`."""
    key_size, key_waves = jax.random.split(key)
    waves = jax.random.uniform(key_size, maxval=most) * jax.random.normal(key_waves, (WAVES, WAVES))
    return jax.image.resize(waves, (side, side), "cubic")


def _grid(side: int) -> tuple[Float[Array, "s 1"], Float[Array, "1 s"]]:
    """Return the row and the column of each pixel, in shares of the side."""
    places = (jnp.arange(side) + 0.5) / side
    return places[:, None], places[None, :]
