"""Training a segmenter in PyTorch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import images
from benchmarks.peers import training
from benchmarks.peers.segmenters import SEGMENTERS


@dataclass(frozen=True)
class Segmentation:
    """A segmenter of a width; Adam's rate, beta1 and weight decay."""

    segmenter: str
    width: int
    batch: int
    adam: Sequence[float]

    def networks(self) -> nn.Module:
        """Return the segmenter with weights of PyTorch's own."""
        return SEGMENTERS[self.segmenter](self.width)

    def data(self, size: int) -> tuple[np.ndarray, ...]:
        """Return what it trains on."""
        return images.labelled(size)

    def call(self, mode: training.Mode, module: nn.Module, data: Sequence[np.ndarray], number: int) -> training.Call:
        """Return a call that takes `number` steps of a placed segmenter on images and masks."""
        optimiser = mode.optimiser(module.train(), *self.adam)
        stored, masks = (training.stored(part, mode.device) for part in data)

        @mode.function
        def loss(x: Tensor, y: Tensor) -> Tensor:
            return F.binary_cross_entropy_with_logits(module(x).float(), y)

        def step() -> None:
            x, rows = training.draw(stored, self.batch)
            with mode.precision():
                found = loss(x, masks[rows].float())
            training.descend(optimiser, found)

        return mode.repeated(step, number)


def loss(module: nn.Module, images: np.ndarray, masks: np.ndarray, device: str) -> float:
    """Return the loss of stored images, without dropout and by running statistics."""
    with torch.no_grad():
        logits = module.eval()(training.to_network(training.stored(images, device)))
    return float(F.binary_cross_entropy_with_logits(logits, training.stored(masks, device).float()))
