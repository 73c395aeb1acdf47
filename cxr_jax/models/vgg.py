"""The thirteen convolutional layers of VGG-16 (Simonyan and Zisserman 2015), FCN's and SegNet's encoder."""

import itertools
from collections.abc import Sequence

import jax
from flax import nnx

from cxr_jax.models.convolution import same_conv
from cxr_jax.models.layers import Image
from cxr_jax.models.normalisation import BatchNorm

LAYOUT = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # stages: multiple of the first one's width, convolutions


class ConvNorm(nnx.Module):
    """3x3 convolution, batch norm, ReLU. The norm would remove a bias of the convolution, so there is none."""

    def __init__(self, channels_in: int, channels_out: int, *, batch_norm: bool = True, rngs: nnx.Rngs):
        """Make the layer; without batch norm the convolution has a bias."""
        self.conv = same_conv(channels_in, channels_out, 3, use_bias=not batch_norm, rngs=rngs)
        self.norm = BatchNorm(channels_out, rngs=rngs) if batch_norm else None

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Apply the layer; training normalises by the batch and updates the running statistics."""
        x = self.conv(x)
        return jax.nn.relu(x if self.norm is None else self.norm(x, train=train))


class ConvStage(nnx.Module):
    """Several `ConvNorm` at one resolution."""

    def __init__(self, channels: Sequence[int], *, batch_norm: bool = True, rngs: nnx.Rngs):
        """Make a layer from each number of channels to the next."""
        self.layers = nnx.List(
            [ConvNorm(i, o, batch_norm=batch_norm, rngs=rngs) for i, o in itertools.pairwise(channels)]
        )

    def __call__(self, x: Image, *, train: bool) -> Image:
        """Apply the layers; the size stays."""
        for layer in self.layers:
            x = layer(x, train=train)
        return x


def encoder(width: int, *, batch_norm: bool = True, rngs: nnx.Rngs) -> list[ConvStage]:
    """Return the five stages for images of one channel; a pooling belongs behind each."""
    stages, channels = [], 1
    for multiple, convolutions in LAYOUT:
        widths = [multiple * width] * convolutions
        stages.append(ConvStage([channels, *widths], batch_norm=batch_norm, rngs=rngs))
        channels = widths[-1]
    return stages
