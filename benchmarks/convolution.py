"""A 3x3 convolution and its two gradients against PyTorch's: `python -m benchmarks.convolution`.

The gradient by the kernel is where a CPU is slowest. So it is measured as XLA makes it, as training on a CPU has it
(`cxr_jax.models.convolution`), and in the other forms that were tried; all are checked to be equal first.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from absl import app, flags
from jaxtyping import Array, Float

from benchmarks import measure
from benchmarks.peers import training
from cxr_jax.models.convolution import convolve

WIDTH = 64
LAYERS = ((1, 1, 1), (1, 2, 1), (2, 2, 2), (4, 4, 4), (8, 8, 8))  # U-Net's: sides divided by, widths in and out
FORWARD, BY_IMAGES, BY_KERNEL = "forward", "gradient by images", "gradient by kernel"
TAPS = (-1, 0, 1)  # of the kernel, along an axis
TOLERANCE = 1e-3  # relative to the largest value
LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
IMAGES_THERE, IMAGES_BACK = (0, 3, 1, 2), (0, 2, 3, 1)  # axes in PyTorch's order, and in ours
KERNEL_THERE, KERNEL_BACK = (3, 2, 0, 1), (2, 3, 1, 0)

DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower layers than those of U-Net with width 64, for a CPU.")

Images = Float[Array, "b h w i"]
Gradient = Float[Array, "b h w o"]
Kernel = Float[Array, "3 3 i o"]
Form = Callable[..., Array]


def convolution(x: Images, kernel: Kernel) -> Gradient:
    """Return the convolution that keeps the size."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def input_gradient(x: Images, kernel: Kernel, of: Gradient) -> Images:
    """Return the gradient by the images."""
    return jax.vjp(lambda x: convolution(x, kernel), x)[1](of)[0]


def by_convolution(x: Images, kernel: Kernel, of: Gradient) -> Kernel:
    """Return the gradient by the kernel as XLA makes it: a convolution whose kernel is as large as the images."""
    return jax.vjp(lambda kernel: convolution(x, kernel), kernel)[1](of)[0]


def as_in_training(x: Images, kernel: Kernel, of: Gradient) -> Kernel:
    """Return it as training on a CPU has it: borders written out, roles exchanged for few channels out."""
    return jax.vjp(lambda kernel: convolve(x, kernel, (1, 1), "SAME"), kernel)[1](of)[0]


def by_nine_products(x: Images, _: Kernel, of: Gradient) -> Kernel:
    """Return it as one matrix product for each of the nine positions in the kernel."""
    rows = [_shifted(x, 1, tap) for tap in TAPS]
    return jnp.stack([jnp.stack([_product(_shifted(row, 2, tap), of) for tap in TAPS]) for row in rows])


def by_patches(x: Images, _: Kernel, of: Gradient) -> Kernel:
    """Return it as one product with the neighbourhoods of all pixels ("im2col")."""
    rows = [_shifted(x, 1, tap) for tap in TAPS]
    patches = jnp.concatenate([_shifted(row, 2, tap) for row in rows for tap in TAPS], axis=-1)
    return _product(patches, of).reshape(3, 3, x.shape[-1], -1)


def by_shifts(x: Images, _: Kernel, of: Gradient) -> Kernel:
    """Return it as one product of images shifted along rows and gradients shifted along columns, the other way."""
    along = jnp.concatenate([_shifted(x, 2, tap) for tap in TAPS], axis=-1)
    across = jnp.concatenate([_shifted(of, 1, -tap) for tap in TAPS], axis=-1)
    return _product(along, across).reshape(3, x.shape[-1], 3, -1).transpose(2, 0, 1, 3)


def by_shifts_in_turn(x: Images, kernel: Kernel, of: Gradient) -> Kernel:
    """Return `by_shifts` of one image after the other, which keeps what is shifted near the processor."""

    def add(index: Array, total: Kernel) -> Kernel:
        image, gradient = (jax.lax.dynamic_slice_in_dim(part, index, 1) for part in (x, of))
        return total + by_shifts(image, kernel, gradient)

    return jax.lax.fori_loop(0, len(x), add, jnp.zeros_like(kernel))


KERNEL_GRADIENTS = (by_convolution, as_in_training, by_nine_products, by_patches, by_shifts, by_shifts_in_turn)


def _shifted(x: Float[Array, "b h w c"], axis: int, by: int) -> Float[Array, "b h w c"]:
    """Return what lies `by` pixels further along an axis; beyond the border there is 0."""
    padding = [(0, 0)] * 4
    padding[axis] = (1, 1)
    return jax.lax.slice_in_dim(jnp.pad(x, padding), 1 + by, 1 + by + x.shape[axis], axis=axis)


def _product(x: Float[Array, "b h w m"], of: Float[Array, "b h w n"]) -> Float[Array, "m n"]:
    return jnp.einsum("pm,pn->mn", x.reshape(-1, x.shape[-1]), of.reshape(-1, of.shape[-1]))


def compare(what: str, shape: Mapping[str, Any], forms: Sequence[Form], arrays: Sequence[Array]) -> None:
    """Time all forms of one function and PyTorch's, once they have been seen to give the same."""
    number = measure.STEPS.value
    theirs = {f"PyTorch, {layout}": peer(what, arrays, layout) for layout in LAYOUTS}
    for form in forms:
        ours = jax.jit(form)
        found = np.asarray(ours(*arrays))
        for name, call in theirs.items():
            expected = call().permute(KERNEL_BACK if what == BY_KERNEL else IMAGES_BACK).cpu().numpy()
            np.testing.assert_allclose(found, expected, atol=TOLERANCE * abs(expected).max(), err_msg=name)
        calls = {"ours": partial(ours, *arrays), **theirs}
        times = measure.race({name: repeated(call, number) for name, call in calls.items()})
        measure.report("convolution", {"what": what, "form": form.__name__, **shape}, times, number)


def peer(what: str, arrays: Sequence[Array], layout: str) -> Callable[[], torch.Tensor]:
    """Return PyTorch's call on the same numbers, in one of its layouts."""
    orders, device = (IMAGES_THERE, KERNEL_THERE, IMAGES_THERE), training.device(jax.default_backend())
    x, kernel, *of = (
        torch.from_numpy(np.array(array)).permute(order).contiguous(memory_format=LAYOUTS[layout]).to(device)
        for array, order in zip(arrays, orders, strict=False)
    )
    if what == FORWARD:
        return lambda: torch.nn.functional.conv2d(x, kernel, padding=1)
    if what == BY_IMAGES:
        return lambda: torch.nn.grad.conv2d_input(x.shape, kernel, of[0], padding=1)
    return lambda: torch.nn.grad.conv2d_weight(x, kernel.shape, of[0], padding=1)


def repeated(call: Callable[[], Any], number: int) -> Callable[[], None]:
    """Return a call that makes as many calls and waits for the device."""
    device = training.device(jax.default_backend())

    def calls() -> None:
        for _ in range(number):
            last = call()
        jax.block_until_ready(last)
        training.finish(device)

    return calls


def main(_: list[str]) -> None:
    """Measure what the flags say."""
    width = WIDTH // DIVIDED.value
    for down, widths_in, widths_out in LAYERS:
        side = measure.SIZE.value // down
        arrays = drawn(measure.BATCH.value, side, width * widths_in, width * widths_out)
        shape = {"channels": f"{width * widths_in} to {width * widths_out}", "size": side, "batch": len(arrays[0])}
        compare(FORWARD, shape, [convolution], arrays[:2])
        compare(BY_IMAGES, shape, [input_gradient], arrays)
        compare(BY_KERNEL, shape, KERNEL_GRADIENTS, arrays)


def drawn(batch: int, side: int, channels_in: int, channels_out: int) -> tuple[Images, Kernel, Gradient]:
    """Return images, a kernel, and a gradient of what they give."""
    shapes = (batch, side, side, channels_in), (3, 3, channels_in, channels_out), (batch, side, side, channels_out)
    keys = jax.random.split(jax.random.key(0), 3)
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))


if __name__ == "__main__":
    app.run(main)
