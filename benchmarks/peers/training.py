"""How a peer runs: on which device, compiled or not, in which precision. JAX has no part in it."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Call = Callable[[], None]


@dataclass(frozen=True)
class Mode:
    """A way to run PyTorch on a device: eagerly in fp32, or compiled, with bf16 autocast and channels last."""

    name: str
    compiled: bool = False
    device: str = "cpu"

    def place(self, module: nn.Module) -> nn.Module:
        """Return the module where and how this mode wants it."""
        module = module.to(self.device)
        return module.to(memory_format=torch.channels_last) if self.compiled else module

    def function(self, function: Callable) -> Callable:
        """Return the function compiled as a whole, where this mode compiles."""
        return torch.compile(function, fullgraph=True, dynamic=False) if self.compiled else function

    def precision(self) -> torch.autocast:
        """Return the context in which losses are computed; it belongs around a compiled function, not into it."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.compiled)

    def optimiser(self, module: nn.Module, rate: float, beta1: float, decay: float) -> torch.optim.Adam:
        """Return Adam with L2 weight decay, in its fastest form for the mode."""
        options = {"fused": True} if self.compiled else {}
        return torch.optim.Adam(module.parameters(), rate, (beta1, 0.999), weight_decay=decay, **options)

    def repeated(self, step: Callable[[], Any], number: int) -> Call:
        """Return a call that takes `number` steps and waits for the device.

        Its first call may compile; a later one raises `RuntimeError` where something would have to be compiled anew.
        """
        warm = False

        def call() -> None:
            nonlocal warm
            with torch.compiler.set_stance("fail_on_recompile") if self.compiled and warm else nullcontext():
                for _ in range(number):
                    step()
            finish(self.device)
            warm = True

        return call


EAGER = Mode("PyTorch eager fp32")
COMPILED = Mode("PyTorch compiled bf16", compiled=True)


def modes(backend: str) -> list[Mode]:
    """Return the modes to measure against where JAX has this backend: on a GPU both, on a CPU the eager one."""
    if device(backend) == "cpu":
        return [EAGER]
    torch.cuda.empty_cache()  # which holds what networks measured before have left
    return [dataclasses.replace(mode, device="cuda") for mode in (EAGER, COMPILED)]


def device(backend: str) -> str:
    """Return PyTorch's name of the device that JAX uses; raise `RuntimeError` where PyTorch cannot use it.

    On a GPU PyTorch is told to choose its quickest convolutions, and to round products to TF32 as XLA does.
    """
    if backend == "cpu":
        return "cpu"
    if not torch.cuda.is_available():
        raise RuntimeError("JAX runs on a GPU that PyTorch does not see: install PyTorch with CUDA")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    return "cuda"


@contextmanager
def exactly() -> Iterator[None]:
    """Have PyTorch's convolutions and products on a GPU keep all bits of fp32 meanwhile, where they round to TF32."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def finish(device: str) -> None:
    """Wait for the device."""
    if device == "cuda":
        torch.cuda.synchronize()


def stored(images: np.ndarray, device: str) -> Tensor:
    """Return uint8 images `n h w 1` as PyTorch stores them, `n 1 h w`, on the device."""
    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device)


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
