"""Our variables into a peer's modules, so that both compute the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

NAMES = {"weight": ("kernel", "scale"), "bias": ("bias", "shift"), "running_mean": ("mean",), "running_var": ("var",)}


def load(module: nn.Module, variables: Mapping[str, Any]) -> nn.Module:
    """Copy a network's variables, a nested dict of arrays, into its peer and return that.

    Raises `KeyError` where the peer has a parameter that the network lacks, `ValueError` where shapes differ or
    variables are left over.
    """
    taken = 0
    with torch.no_grad():
        for path, part in module.named_modules():
            own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, tensor in own:
                if name == "num_batches_tracked":
                    continue
                array = _in_torch_order(part, _find(variables, path, NAMES.get(name, (name,))))
                if array.shape != tuple(tensor.shape):
                    raise ValueError(f"{path}.{name}: ours is {array.shape}, the peer's {tuple(tensor.shape)}")
                tensor.copy_(torch.from_numpy(np.array(array)))
                taken += array.size
    whole = sum(array.size for array in _leaves(variables))
    if taken != whole:
        raise ValueError(f"the peer of {type(module).__name__} has {taken} of our {whole} numbers")
    return module


def _find(variables: Mapping[str, Any], path: str, names: tuple[str, ...]) -> np.ndarray:
    node = variables
    for key in filter(None, path.split(".")):
        node = node[int(key) if key.isdigit() else key]
    for name in names:
        if name in node:
            return np.asarray(node[name])
    raise KeyError(f"{path}: none of {', '.join(names)} among {', '.join(map(str, node))}")


def _in_torch_order(part: nn.Module, array: np.ndarray) -> np.ndarray:
    if array.ndim == 4:  # height, width, in, out
        return array.transpose((2, 3, 0, 1) if isinstance(part, nn.ConvTranspose2d) else (3, 2, 0, 1))
    return array.T if isinstance(part, nn.Linear) else array


def _leaves(tree: Any) -> list[Any]:
    return [leaf for child in tree.values() for leaf in _leaves(child)] if isinstance(tree, Mapping) else [tree]
