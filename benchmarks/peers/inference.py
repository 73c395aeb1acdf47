"""Masks in PyTorch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.peers import training
from benchmarks.peers.steps import Networks


def logits(networks: Networks, images: Tensor, translated: bool) -> Tensor:
    """Return M_A's logits of images in [-1, 1], as they are or translated to A first."""
    if translated:
        translator = networks.translator
        style = torch.zeros(1, translator.style_size, device=images.device)
        images = translator.a.decode(translator.b.content(images), style)
    return networks.segmenter(images)


def probabilities(networks: Networks, images: np.ndarray, translated: bool, device: str) -> np.ndarray:
    """Return the foreground's probabilities of stored images, `n h w 1`, eagerly and in fp32."""
    with torch.inference_mode():
        found = logits(networks.eval(), training.to_network(training.stored(images, device)), translated)
    return found.sigmoid().permute(0, 2, 3, 1).cpu().numpy()


def masks(
    mode: training.Mode, networks: Networks, images: np.ndarray, batch: int, translated: bool
) -> Callable[[], None]:
    """Return a call that makes masks of all images, which wait on the host, in batches."""
    networks.eval()
    parts = np.split(images, range(batch, len(images), batch))

    @mode.function
    def forward(x: Tensor) -> Tensor:
        return logits(networks, x, translated) > 0

    def step() -> Tensor:
        with torch.inference_mode(), mode.precision():
            return torch.cat([forward(training.to_network(training.stored(part, mode.device))) for part in parts])

    return mode.repeated(step, 1)
