"""Test-time augmentation: what a model finds in several views of an image, put back in its place and averaged.

The paper does not have it. A segmenter errs in each view a little differently, on another scanner above all, and the
mean of the views errs less. It costs as many predictions as there are views, and no training.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from cxr_jax.data.augmentation import resample

Soften = Callable[[Any, UInt8[Array, "b s s 1"]], Float[Array, "b s s 1"]]


class View(NamedTuple):
    """How much of an image's height and width is seen, its rotation in degrees, and its shift as share of the side."""

    height: float = 1.0
    width: float = 1.0
    rotation: float = 0.0
    shift: float = 0.0

    def maps(self) -> tuple[Float[np.ndarray, "2 3"], Float[np.ndarray, "2 3"]]:
        """Return the affine maps from the view's coordinates to the image's, both in [-1, 1], and back."""
        angle = np.deg2rad(self.rotation)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        there = np.eye(3)
        there[:2, :2] = np.diag([self.height, self.width]) @ turn
        there[:2, 2] = 2.0 * self.shift
        return there[:2], np.linalg.inv(there)[:2]


VIEWS = (
    View(),
    View(0.85, 0.85),
    View(1.15, 1.15),
    View(1.3, 1.3),
    View(0.9, 1.1),
    View(1.1, 0.9),
    View(rotation=5.0),
    View(rotation=-5.0),
    View(shift=0.03),
    View(shift=-0.03),
)


def averaged(soften: Soften) -> Soften:
    """Return the jitted mean of `soften(model, images)` over `VIEWS`: probabilities, from images in [0, 255].

    A pixel that a view does not show has the mean of those that do; the first view shows all.
    """
    there, back = (np.stack(maps).astype(np.float32) for maps in zip(*(view.maps() for view in VIEWS), strict=True))

    @jax.jit
    def mean(model: Any, images: UInt8[Array, "b s s 1"]) -> Float[Array, "b s s 1"]:
        def found(maps: tuple[Float[Array, "2 3"], Float[Array, "2 3"]]) -> Float[Array, "b s s 2"]:
            view = jnp.rint(_move(images.astype(jnp.float32), maps[0])).astype(jnp.uint8)
            soft = soften(model, view)
            return _move(jnp.concatenate([soft, jnp.ones_like(soft)], axis=-1), maps[1])

        total = jax.lax.map(found, (there, back)).sum(axis=0)
        return total[..., :1] / total[..., 1:]

    return mean


def _move(images: Float[Array, "b s s c"], affine: Float[Array, "2 3"]) -> Float[Array, "b s s c"]:
    return jax.vmap(resample, in_axes=(0, None, None))(images, affine[:, :2], affine[:, 2])
