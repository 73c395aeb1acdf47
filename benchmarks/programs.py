"""A training step of ours as a program: run many times as training does, and what it has to compute and to move."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

from cxr_jax import platform

Call = Callable[[], None]


@dataclass(frozen=True)
class Cost:
    """What a step takes at least, as XLA counts it: floating-point operations, and bytes read and written."""

    flops: float
    bytes: float


@dataclass(frozen=True)
class Program:
    """A step, `iteration(state, data) -> (state, metrics)`, and what it starts from."""

    iteration: Callable[[Any, Any], tuple[Any, Any]]
    state: Any
    data: Any

    def repeated(self, number: int) -> Call:
        """Return a call that takes `number` steps, as the project's training does, and waits for the device.

        It donates the state, so a program is repeated by one call alone.
        """
        run, held = platform.epoch_runner(self.iteration, number), [self.state]

        def call() -> None:
            held[0], metrics = run(held[0], self.data)
            jax.block_until_ready((held[0], metrics))

        return call

    def cost(self) -> Cost:
        """Return what a step takes, compiled as one program.

        Operations are those of the step as it is written, whatever kernels compute it; bytes are those that the
        compiled program's fusions read and write, each once, as if no cache kept what one leaves for the next.
        """
        lowered = jax.jit(self.iteration).lower(self.state, self.data)
        moved = lowered.compile().cost_analysis()["bytes accessed"]
        return Cost(lowered.cost_analysis()["flops"], moved)
