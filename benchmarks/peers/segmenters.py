"""The segmenters in PyTorch: images `b 1 h w` in [-1, 1] to logits."""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VGG = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # stages: multiple of the first one's width, convolutions


class GroupDoubleConv(nn.Module):
    """U-Net's: twice 3x3 convolution, group norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int):
        """Make the block."""
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, channels_out, 3, padding=1) for i in (channels_in, channels_out))
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels_out, eps=1e-6) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        return x


class UNet(nn.Module):
    """Ronneberger et al. 2015, padded, with group norm."""

    def __init__(self, width: int = 64, depth: int = 4):
        """Make the network."""
        super().__init__()
        widths = [width * 2**level for level in range(depth + 1)]
        pairs = zip([1, *widths[:-1]], widths, strict=True)
        self.encoder = nn.ModuleList(GroupDoubleConv(i, o) for i, o in pairs)
        self.upconvs = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, stride=2) for w in reversed(widths[1:]))
        self.decoder = nn.ModuleList(GroupDoubleConv(w, w // 2) for w in reversed(widths[1:]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        skips = []
        for stage in self.encoder:
            x = stage(F.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        for upconv, stage, skip in zip(self.upconvs, self.decoder, reversed(skips[:-1]), strict=True):
            x = stage(torch.cat([skip, upconv(x)], dim=1))
        return self.head(x)


class ConvNorm(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, channels_in: int, channels_out: int):
        """Make the layer."""
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return F.relu(self.norm(self.conv(x)))


class ConvStage(nn.Module):
    """Several `ConvNorm` at one resolution."""

    def __init__(self, channels: list[int]):
        """Make a layer from each number of channels to the next."""
        super().__init__()
        self.layers = nn.ModuleList(ConvNorm(i, o) for i, o in itertools.pairwise(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in self.layers:
            x = layer(x)
        return x


def vgg(width: int) -> nn.ModuleList:
    """Return VGG-16's five stages of convolutions."""
    stages, channels = [], 1
    for multiple, convolutions in VGG:
        stages.append(ConvStage([channels, *[multiple * width] * convolutions]))
        channels = multiple * width
    return nn.ModuleList(stages)


class LearnedUpsampling(nn.Module):
    """Transposed convolution of one channel with a kernel twice as wide as its stride."""

    def __init__(self, factor: int):
        """Make the layer."""
        super().__init__()
        self.kernel = nn.Parameter(torch.zeros(2 * factor, 2 * factor))
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Multiply height and width by the factor."""
        return F.conv_transpose2d(x, self.kernel[None, None], stride=self.factor, padding=self.factor // 2)


class FCN(nn.Module):
    """FCN-8s on VGG-16 with batch norm (Long et al. 2015)."""

    def __init__(self, width: int = 64):
        """Make the network."""
        super().__init__()
        self.stages = vgg(width)
        self.fc6 = nn.Conv2d(8 * width, 64 * width, 7, padding=3)
        self.fc7 = nn.Conv2d(64 * width, 64 * width, 1)
        self.score_pool3 = nn.Conv2d(4 * width, 1, 1)
        self.score_pool4 = nn.Conv2d(8 * width, 1, 1)
        self.score_fc7 = nn.Conv2d(64 * width, 1, 1)
        self.up_fc7, self.up_pool4, self.up_pool3 = (LearnedUpsampling(factor) for factor in (2, 2, 8))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        pools = []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)
            pools.append(x)
        x = F.dropout(F.relu(self.fc6(x)), 0.5, self.training)
        x = F.dropout(F.relu(self.fc7(x)), 0.5, self.training)
        scores = self.up_fc7(self.score_fc7(x)) + self.score_pool4(pools[3])
        return self.up_pool3(self.up_pool4(scores) + self.score_pool3(pools[2]))


class SegNet(nn.Module):
    """Badrinarayanan et al. 2017: VGG-16 and its mirror image, unpooling with the poolings' indices."""

    def __init__(self, width: int = 64):
        """Make the network."""
        super().__init__()
        self.encoder = vgg(width)
        stages = [[multiple * width] * convolutions for multiple, convolutions in reversed(VGG)]
        targets = [stage[0] for stage in stages[1:]] + [width]
        self.decoder = nn.ModuleList(ConvStage([*s, t]) for s, t in zip(stages, targets, strict=True))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        taken = []
        for stage in self.encoder:
            x, indices = F.max_pool2d(stage(x), 2, return_indices=True)
            taken.append(indices)
        for stage, indices in zip(self.decoder, reversed(taken), strict=True):
            x = stage(F.max_unpool2d(x, indices, 2))
        return self.head(x)


class DoubleConv(nn.Module):
    """InvertedNet's: twice 3x3 convolution, ELU, Gaussian dropout of rate 0.25."""

    def __init__(self, channels_in: int, channels_out: int):
        """Make the block."""
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, channels_out, 3, padding=1) for i in (channels_in, channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        for conv in self.convs:
            x = F.elu(conv(x))
            if self.training:
                x = x * (1 + (1 / 3) ** 0.5 * torch.randn_like(x))
        return x


class InvertedNet(nn.Module):
    """Novikov et al. 2018: many feature maps at high resolution, few at low."""

    def __init__(self, width: int = 256):
        """Make the network."""
        super().__init__()
        widths = [width // 2**level for level in range(5)]
        self.encoder = nn.ModuleList(DoubleConv(i, o) for i, o in zip([1, *widths[:-1]], widths, strict=True))
        self.decoder = nn.ModuleList(DoubleConv(3 * w, 2 * w) for w in reversed(widths[1:]))
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        skips = []
        for level, stage in enumerate(self.encoder):
            if level == 1:  # a pooling of stride 1
                x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2, stride=1)
            elif level:
                x = F.max_pool2d(x, 2)
            x = stage(x)
            skips.append(x)
        for level, (stage, skip) in enumerate(zip(self.decoder, reversed(skips[:-1]), strict=True)):
            x = F.interpolate(x, scale_factor=2, mode="nearest") if level < 3 else x
            x = stage(torch.cat([skip, x], dim=1))
        return self.head(x)


class NormRelu(nn.Module):
    """Batch norm and ReLU."""

    def __init__(self, channels: int):
        """Make the layer."""
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return F.relu(self.norm(x))


class PreactivationBlock(nn.Module):
    """SCAN's residual block: batch norm and ReLU in front of each 3x3 convolution."""

    def __init__(self, channels_in: int, channels_out: int, rate: int = 1):
        """Make the block."""
        super().__init__()

        def conv(channels: int, side: int) -> nn.Conv2d:
            return nn.Conv2d(channels, channels_out, side, padding=rate * (side // 2), dilation=rate, bias=False)

        self.norms = nn.ModuleList(NormRelu(channels) for channels in (channels_in, channels_out))
        self.convs = nn.ModuleList(conv(channels, 3) for channels in (channels_in, channels_out))
        self.shortcut = nn.Identity() if channels_in == channels_out else conv(channels_in, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = x
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(norm(y))
        return self.shortcut(x) + y


class Trunk(nn.Module):
    """SCAN's encoder: 7x7 convolution, then stages of residual blocks."""

    RATES = ((1, 1), (1, 1, 1), (1, 1), (1, 2, 4))

    def __init__(self, channels_in: int, width: int):
        """Make the layers."""
        super().__init__()
        self.stem = nn.Conv2d(channels_in, width, 7, padding=3, bias=False)
        self.stages = nn.ModuleList()
        channels = width
        for level, rates in enumerate(self.RATES):
            widths = [channels, *[width * 2**level] * len(rates)]
            pairs = zip(itertools.pairwise(widths), rates, strict=True)
            self.stages.append(nn.ModuleList(PreactivationBlock(i, o, rate) for (i, o), rate in pairs))
            channels = widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        """Return features at an eighth of the size."""
        x = self.stem(x)
        for level, blocks in enumerate(self.stages):
            x = F.max_pool2d(x, 2) if level else x
            for block in blocks:
                x = block(x)
        return x


class SCAN(nn.Module):
    """Dai et al. 2018: the segmenter, without its critic."""

    def __init__(self, width: int = 8):
        """Make the network."""
        super().__init__()
        self.trunk = Trunk(1, width)
        widths = [width * 2**level for level in (3, 2, 1)]
        self.norms = nn.ModuleList(NormRelu(w) for w in widths)
        self.upconvs = nn.ModuleList(nn.ConvTranspose2d(w, w // 2, 2, stride=2) for w in widths)
        self.blocks = nn.ModuleList(PreactivationBlock(width, width) for _ in range(2))
        self.norm = NormRelu(width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.trunk(x)
        for norm, upconv in zip(self.norms, self.upconvs, strict=True):
            x = upconv(norm(x))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


SEGMENTERS = {"unet": UNet, "fcn": FCN, "segnet": SegNet, "invertednet": InvertedNet, "scan": SCAN}
