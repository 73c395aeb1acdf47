"""How a peer runs: on which device, compiled or not, in which precision."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Mode:
    """A way to run PyTorch: eagerly in fp32, or compiled, with bf16 autocast and channels last."""

    name: str
    compiled: bool

    def place(self, module: nn.Module) -> nn.Module:
        """Return the module where and how this mode wants it."""
        module = module.to(device())
        return module.to(memory_format=torch.channels_last) if self.compiled else module

    def function(self, function: Callable) -> Callable:
        """Return the function compiled, where this mode compiles."""
        return torch.compile(function) if self.compiled else function

    def precision(self) -> torch.autocast:
        """Return the context in which losses are computed."""
        return torch.autocast(device(), dtype=torch.bfloat16, enabled=self.compiled)

    def optimiser(self, module: nn.Module, rate: float, beta1: float, decay: float) -> torch.optim.Adam:
        """Return Adam with L2 weight decay, in its fastest form for the mode."""
        options = {"fused": True} if self.compiled else {}
        return torch.optim.Adam(module.parameters(), rate, (beta1, 0.999), weight_decay=decay, **options)


EAGER = Mode("PyTorch eager fp32", compiled=False)
COMPILED = Mode("PyTorch compiled bf16", compiled=True)


def modes() -> list[Mode]:
    """Return the modes to measure against: on a GPU both, on a CPU the eager one."""
    return [EAGER, COMPILED] if device() == "cuda" else [EAGER]


def device() -> str:
    """Return PyTorch's name of the device that JAX uses; raise `RuntimeError` where PyTorch cannot use it."""
    if jax.default_backend() == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError("JAX runs on a GPU that PyTorch does not see: install PyTorch with CUDA")
    return "cuda"


def finish() -> None:
    """Wait for the device."""
    if device() == "cuda":
        torch.cuda.synchronize()


def stored(images: np.ndarray) -> Tensor:
    """Return uint8 images `n h w 1` as PyTorch stores them, `n 1 h w`, on the device."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device())


def to_network(images: Tensor) -> Tensor:
    """Scale stored images to [-1, 1]."""
    return images.float() / 127.5 - 1.0


def draw(images: Tensor, batch: int) -> tuple[Tensor, Tensor]:
    """Return a random batch of stored images, in [-1, 1], and its rows."""
    rows = torch.randint(len(images), (batch,), device=images.device)
    return to_network(images[rows]), rows


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """Take one step on a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()
