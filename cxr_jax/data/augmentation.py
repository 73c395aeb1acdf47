"""Random geometry and intensity, inside the jitted step.

Radiographs of two scanners differ in framing, black borders, contrast curve and polarity; so does what is
drawn here. Images are in [0, 1]; whatever comes from outside the image is black, in masks background.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

Unit = Float[Array, "b h w 1"]


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for each image, uniformly. The values of `none()` leave images as they are."""

    rotation: float  # degrees, to either side
    scale: tuple[float, float]  # zoom, the same along both axes; below 1 the image shrinks into a black frame
    shift: float  # share of the side, along each axis, to either side
    crop: float  # smallest side of the cropped window, as share of the image's; each side has its own
    gamma: float  # exponent between 1/gamma and gamma, on a logarithmic scale
    contrast: float  # factor about mid-grey between 1 - contrast and 1 + contrast
    brightness: float  # offset, to either side
    negation: float  # probability that bright and dark change places
    effusion: float = 0.0  # probability that lungs are white from their base up to some level

    @classmethod
    def none(cls) -> "Augmentation":
        """Return the augmentation that changes nothing."""
        return cls(0.0, (1.0, 1.0), 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)

    @property
    def moves(self) -> bool:
        """Say whether geometry is changed at all."""
        return (self.rotation, self.scale, self.shift, self.crop) != (0.0, (1.0, 1.0), 0.0, 1.0)

    @property
    def recolours(self) -> bool:
        """Say whether intensities are changed at all."""
        return (self.gamma, self.contrast, self.brightness, self.negation) != (1.0, 0.0, 0.0, 0.0)


def geometry(augmentation: Augmentation, key: PRNGKeyArray, images: Unit, masks: Unit) -> tuple[Unit, Unit]:
    """Rotate, scale, shift and crop images and their masks alike; masks stay binary."""
    if not augmentation.moves:
        return images, masks
    keys = jax.random.split(key, len(images))
    matrices, offsets = jax.vmap(lambda k: _affine(augmentation, k))(keys)
    moved = jax.vmap(resample)(jnp.concatenate([images, masks], axis=-1), matrices, offsets)
    return moved[..., :1], (moved[..., 1:] >= 0.5).astype(masks.dtype)


def intensity(augmentation: Augmentation, key: PRNGKeyArray, images: Unit) -> Unit:
    """Change gamma, contrast, brightness and polarity, differentiably; the result is clipped to [0, 1]."""
    if not augmentation.recolours:
        return images
    key_gamma, key_contrast, key_brightness, key_negation = jax.random.split(key, 4)
    shape = (len(images), 1, 1, 1)
    exponent = jnp.exp(jnp.log(augmentation.gamma) * jax.random.uniform(key_gamma, shape, minval=-1.0))
    factor = 1.0 + augmentation.contrast * jax.random.uniform(key_contrast, shape, minval=-1.0)
    offset = augmentation.brightness * jax.random.uniform(key_brightness, shape, minval=-1.0)
    negative = jax.random.bernoulli(key_negation, augmentation.negation, shape)
    x = jnp.clip(images, 1e-4, 1.0) ** exponent  # the bound keeps the power's gradient finite at black
    x = jnp.clip((x - 0.5) * factor + 0.5 + offset, 0.0, 1.0)
    return jnp.where(negative, 1.0 - x, x)


def effusion(augmentation: Augmentation, key: PRNGKeyArray, images: Unit, lungs: Unit) -> Unit:
    """Whiten one lung or both from the base up to a level, as a pleural effusion does; masks stay what they were."""
    if not augmentation.effusion:
        return images
    keys = jax.random.split(key, len(images))
    return jax.vmap(lambda *x: _effusion(augmentation.effusion, *x))(keys, images[..., 0], lungs[..., 0])[..., None]


def _effusion(probability, key, image, lungs):
    h, w = image.shape
    rows, columns = jnp.arange(h) / h, jnp.arange(w) / w
    draw = jax.random.uniform(key, (10,))

    def within(i, low, high):
        return low + (high - low) * draw[i]

    middle = lungs.sum(0) @ columns / jnp.maximum(lungs.sum(), 1.0)
    right = columns > middle
    cover = jnp.zeros_like(image)
    for i, side, chosen in ((0, right, draw[4] < 0.6), (2, ~right, draw[4] > 0.4)):
        width = lungs @ side.astype(lungs.dtype)  # in each row
        top = jnp.where(width > 0, rows, 1.0).min()
        bottom = jnp.where(width > 0, rows, 0.0).max()
        area = jnp.where(side, lungs.sum(0), 0.0)
        centre = area @ columns / jnp.maximum(area.sum(), 1.0)
        level = bottom - within(i, 0.05, 0.7) * (bottom - top) + within(i + 1, -0.4, 0.4) * (columns - centre)
        below = jax.nn.sigmoid((rows[:, None] - level) / within(5, 1 / 64, 1 / 16))
        cover = jnp.where(side & chosen, below, cover)
    near = jnp.minimum(1.0, 2.0 * _band(h) @ lungs @ _band(w).T)  # the lungs, and what is close to them
    share = jnp.where(draw[6] < probability, within(7, 0.7, 1.0), 0.0)
    return image + share * cover * near * jnp.maximum(within(8, 0.7, 1.0) - image, 0.0)


def _band(side):
    """Return the matrix that averages over a sixteenth of a side."""
    apart = jnp.abs(jnp.arange(side)[:, None] - jnp.arange(side))
    reach = max(1, side // 32)
    return (apart <= reach) / (2.0 * reach + 1.0)


def _affine(augmentation: Augmentation, key: PRNGKeyArray) -> tuple[Float[Array, "2 2"], Float[Array, " 2"]]:
    """Draw the map from output to input coordinates, both in [-1, 1]: x_in = matrix @ x_out + offset."""
    key_angle, key_scale, key_shift, key_window, key_place = jax.random.split(key, 5)
    angle = jnp.deg2rad(augmentation.rotation) * jax.random.uniform(key_angle, minval=-1.0)
    low, high = augmentation.scale
    scale = jax.random.uniform(key_scale, minval=low, maxval=high)
    shift = 2.0 * augmentation.shift * jax.random.uniform(key_shift, (2,), minval=-1.0)
    window = jax.random.uniform(key_window, (2,), minval=augmentation.crop, maxval=1.0)
    place = (1.0 - window) * jax.random.uniform(key_place, (2,), minval=-1.0)
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    rotation = jnp.array([[cosine, -sine], [sine, cosine]]) / scale
    return rotation * window, rotation @ (place - shift)


def resample(
    image: Float[Array, "h w c"], matrix: Float[Array, "2 2"], offset: Float[Array, " 2"]
) -> Float[Array, "h w c"]:
    """Sample `image` bilinearly through an affine map; outside of it there is 0."""
    height, width, _ = image.shape
    size = jnp.array([height, width], jnp.float32)
    grid = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"))
    out = (grid + 0.5) / size[:, None, None] * 2.0 - 1.0
    source = jnp.einsum("ij,jhw->ihw", matrix, out) + offset[:, None, None]
    pixels = (source + 1.0) / 2.0 * size[:, None, None] - 0.5

    def sample(channel: Float[Array, "h w"]) -> Float[Array, "h w"]:
        return jax.scipy.ndimage.map_coordinates(channel, list(pixels), order=1, mode="constant")

    return jax.vmap(sample, in_axes=-1, out_axes=-1)(image)
