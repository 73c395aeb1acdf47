"""MUNIT and its patch discriminator in PyTorch (Huang et al. 2018): images `b 1 h w` in [-1, 1]."""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def unchanged(x: Tensor) -> Tensor:
    """Return `x`."""
    return x


def leaky_relu(x: Tensor) -> Tensor:
    """Leaky rectifier with slope 0.2."""
    return F.leaky_relu(x, 0.2)


class PaddedConv(nn.Module):
    """Reflection padding, convolution, normalisation, activation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int,
        padding: int,
        norm: Callable[[Tensor], Tensor] = unchanged,
        activation: Callable[[Tensor], Tensor] = F.relu,
    ):
        """Make the block."""
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, padding_mode="reflect")
        self.norm_function, self.activation = norm, activation

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return self.activation(self.norm_function(self.conv(x)))


class ResidualBlock(nn.Module):
    """x + conv(conv(x)) with instance norm."""

    def __init__(self, channels: int):
        """Make the block."""
        super().__init__()
        self.first = PaddedConv(channels, channels, 3, 1, 1, F.instance_norm)
        self.second = PaddedConv(channels, channels, 3, 1, 1, F.instance_norm, unchanged)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        return x + self.second(self.first(x))


class AdaptiveResidualBlock(nn.Module):
    """x + conv(conv(x)) with AdaIN."""

    def __init__(self, channels: int):
        """Make the block."""
        super().__init__()
        self.first, self.second = (PaddedConv(channels, channels, 3, 1, 1, activation=unchanged) for _ in range(2))

    def forward(self, x: Tensor, adaptation: Tensor) -> Tensor:
        """Apply the block; `adaptation` is `b 4 c`: scale, shift, scale, shift."""
        scale, shift, scale_second, shift_second = adaptation[..., None, None].unbind(1)
        y = F.relu(F.instance_norm(self.first(x)) * scale + shift)
        return x + F.instance_norm(self.second(y)) * scale_second + shift_second


class ContentEncoder(nn.Module):
    """Image to content code."""

    def __init__(self, width: int, downsamplings: int, blocks: int):
        """Make the encoder."""
        super().__init__()
        self.stem = PaddedConv(1, width, 7, 1, 3, F.instance_norm)
        self.down = nn.ModuleList(
            PaddedConv(width * 2**i, width * 2 ** (i + 1), 4, 2, 1, F.instance_norm) for i in range(downsamplings)
        )
        self.blocks = nn.ModuleList(ResidualBlock(width * 2**downsamplings) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Encode images."""
        x = self.stem(x)
        for layer in [*self.down, *self.blocks]:
            x = layer(x)
        return x


class StyleEncoder(nn.Module):
    """Image to style code."""

    def __init__(self, width: int, style: int):
        """Make the encoder."""
        super().__init__()
        widths = [width * 2 ** min(level, 2) for level in range(5)]
        self.stem = PaddedConv(1, width, 7, 1, 3)
        self.down = nn.ModuleList(PaddedConv(i, o, 4, 2, 1) for i, o in itertools.pairwise(widths))
        self.head = nn.Linear(widths[-1], style)

    def forward(self, x: Tensor) -> Tensor:
        """Encode images."""
        x = self.stem(x)
        for layer in self.down:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class LayerNorm(nn.Module):
    """MUNIT's: statistics over a whole image, unbiased deviation, scale and shift for each channel."""

    def __init__(self, channels: int):
        """Make the layer."""
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x`."""
        flat = x.reshape(len(x), -1)
        mean, deviation = flat.mean(1)[:, None, None, None], flat.std(1)[:, None, None, None]
        return (x - mean) / (deviation + 1e-5) * self.weight[:, None, None] + self.bias[:, None, None]


class UpsampledConv(nn.Module):
    """Nearest upsampling by 2 and 5x5 convolution with replicated borders, layer norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int):
        """Make the layer."""
        super().__init__()
        conv = nn.Conv2d(channels_in, channels_out, 5)
        self.kernel, self.bias = conv.weight, conv.bias
        self.norm = LayerNorm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Double height and width."""
        x = F.pad(F.interpolate(x, scale_factor=2, mode="nearest"), (2, 2, 2, 2), mode="replicate")
        return F.relu(self.norm(F.conv2d(x, self.kernel, self.bias)))


class StyleMLP(nn.Module):
    """Style code to AdaIN's scales and shifts."""

    def __init__(self, style: int, width: int, blocks: int, channels: int):
        """Make the perceptron."""
        super().__init__()
        widths = [style, width, width, blocks * 4 * channels]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in itertools.pairwise(widths))
        self.shape = (blocks, 4, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return `b blocks 4 c`."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x).reshape(-1, *self.shape)


class Decoder(nn.Module):
    """Content and style codes to an image."""

    def __init__(self, width: int, upsamplings: int, blocks: int, style: int, mlp: int):
        """Make the decoder."""
        super().__init__()
        widths = [width * 2**level for level in range(upsamplings, -1, -1)]
        self.mlp = StyleMLP(style, mlp, blocks, widths[0])
        self.blocks = nn.ModuleList(AdaptiveResidualBlock(widths[0]) for _ in range(blocks))
        self.up = nn.ModuleList(UpsampledConv(i, o) for i, o in itertools.pairwise(widths))
        self.head = PaddedConv(width, 1, 7, 1, 3, activation=torch.tanh)

    def forward(self, content: Tensor, style: Tensor) -> Tensor:
        """Decode."""
        x = content
        for block, adaptation in zip(self.blocks, self.mlp(style).unbind(1), strict=True):
            x = block(x, adaptation)
        for layer in self.up:
            x = layer(x)
        return self.head(x)


class AutoEncoder(nn.Module):
    """The encoders and the decoder of one domain."""

    def __init__(self, width: int, downsamplings: int, blocks: int, style: int, mlp: int):
        """Make the three networks."""
        super().__init__()
        self.content = ContentEncoder(width, downsamplings, blocks)
        self.style = StyleEncoder(width, style)
        self.decode = Decoder(width, downsamplings, blocks, style, mlp)


class MUNIT(nn.Module):
    """Both domains' auto-encoders."""

    def __init__(self, width: int = 32, downsamplings: int = 2, blocks: int = 2, style: int = 8, mlp: int = 32):
        """Make the translator."""
        super().__init__()
        self.a, self.b = (AutoEncoder(width, downsamplings, blocks, style, mlp) for _ in range(2))
        self.style_size = style


class PatchDiscriminator(nn.Module):
    """Convolutions of stride 2 and a score for each patch."""

    def __init__(self, width: int, layers: int):
        """Make the discriminator."""
        super().__init__()
        widths = [1] + [width * 2**level for level in range(layers)]
        self.convs = nn.ModuleList(
            PaddedConv(i, o, 4, 2, 1, activation=leaky_relu) for i, o in itertools.pairwise(widths)
        )
        self.head = PaddedConv(widths[-1], 1, 1, 1, 0, activation=unchanged)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores."""
        for conv in self.convs:
            x = conv(x)
        return self.head(x)


class MultiScaleDiscriminator(nn.Module):
    """One patch discriminator for each halving of the image."""

    def __init__(self, width: int = 32, layers: int = 2, scales: int = 1):
        """Make the discriminators."""
        super().__init__()
        self.scales = nn.ModuleList(PatchDiscriminator(width, layers) for _ in range(scales))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the scores of each scale."""
        scores = []
        for discriminator in self.scales:
            scores.append(discriminator(x))
            x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
        return scores
