"""Random geometry and appearance, inside the jitted step.

Radiographs of two scanners differ in framing, black borders, contrast curve and polarity, those of two hospitals in
disease; so does what is drawn here. Images are in [0, 1]; whatever comes from outside the image is black, in masks
background.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from cxr_jax.data import effusion

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
    effusion: float = 0.0  # probability that an image with masks of lungs shows an effusion (`cxr_jax.data.effusion`)

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


def appearance(augmentation: Augmentation, key: PRNGKeyArray, images: Unit, masks: Unit) -> Unit:
    """Draw effusions into the lungs that `masks` are of, then change intensities; masks hold for the result as well."""
    if augmentation.effusion:
        key, key_effusion = jax.random.split(key)
        images = effusion.draw(augmentation.effusion, key_effusion, images, masks)
    return intensity(augmentation, key, images)


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
