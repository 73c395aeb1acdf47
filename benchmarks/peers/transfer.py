"""Training by the method in PyTorch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import images
from benchmarks.peers import munit, steps, training
from benchmarks.peers.segmenters import UNet


@dataclass(frozen=True)
class Transfer:
    """Sizes of the networks, weights of the losses; Adam's rate, beta1 and weight decay in the game and beside it."""

    segmenter: Mapping[str, Any]
    translator: Mapping[str, Any]
    discriminator: Mapping[str, Any]
    batch: int
    weights: Mapping[str, float]
    game: Sequence[float]
    supervised: Sequence[float]

    def networks(self) -> steps.Networks:
        """Return the networks with weights of PyTorch's own."""
        judges = (munit.MultiScaleDiscriminator(**self.discriminator) for _ in "ab")
        return steps.Networks(UNet(**self.segmenter), munit.MUNIT(**self.translator), *judges)

    def data(self, size: int) -> tuple[np.ndarray, ...]:
        """Return what it trains on."""
        return *images.labelled(size), images.unlabelled(size)

    def call(
        self, mode: training.Mode, networks: steps.Networks, data: Sequence[np.ndarray], number: int
    ) -> training.Call:
        """Return a call that takes `number` iterations of placed networks on A's images and masks and B's images."""
        learned = nn.ModuleList([networks.segmenter, networks.translator])
        tools = (
            mode.optimiser(networks.judges, *self.game),
            mode.optimiser(networks.translator, *self.game),
            mode.optimiser(learned, *self.supervised),
        )
        loss_d, loss_g, loss_s = map(
            mode.function, (steps.discriminative_loss, steps.generative_loss, steps.supervised_loss)
        )
        images_a, masks, images_b = (training.stored(part, mode.device) for part in data)

        def styles() -> tuple[Tensor, Tensor]:
            return torch.randn(2, self.batch, networks.translator.style_size, device=mode.device).unbind()

        def step() -> None:
            (a, rows), (b, _) = training.draw(images_a, self.batch), training.draw(images_b, self.batch)
            with mode.precision():
                loss = loss_d(networks, a, b, styles())
            training.descend(tools[0], loss)
            networks.judges.requires_grad_(False)
            with mode.precision():
                loss = loss_g(networks, a, b, styles(), self.weights)
            training.descend(tools[1], loss)
            networks.judges.requires_grad_(True)
            with mode.precision():
                loss = loss_s(networks, a, masks[rows].float(), styles()[1])
            training.descend(tools[2], loss)

        return mode.repeated(step, number)


def losses(
    networks: steps.Networks,
    batch: Sequence[np.ndarray],
    styles: Sequence[Sequence[np.ndarray]],
    weights: Mapping[str, float],
    device: str,
) -> list[float]:
    """Return the three steps' losses on stored images and masks of A and images of B, each in styles of its own."""
    a, masks, b = (training.stored(part, device) for part in batch)
    a, b = map(training.to_network, (a, b))
    drawn = [tuple(torch.tensor(style, device=device) for style in pair) for pair in styles]
    with torch.no_grad():
        found = (
            steps.discriminative_loss(networks, a, b, drawn[0]),
            steps.generative_loss(networks, a, b, drawn[1], weights),
            steps.supervised_loss(networks, a, masks.float(), drawn[2][1]),
        )
    return [float(loss) for loss in found]
