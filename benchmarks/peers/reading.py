"""Reading radiographs by a PyTorch DataLoader."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from benchmarks import crowd
from cxr_jax.data.look import Look
from cxr_jax.data.stream import Records


class Files(torch.utils.data.Dataset):
    """The images of `crowd` as PyTorch takes them; each worker opens the files by itself."""

    def __init__(self, folder: str, case: Mapping[str, int]):
        """Open nothing yet."""
        self.folder, self.case, self.records = folder, case, None

    def __len__(self) -> int:
        """Return the number of images."""
        return self.case["images"]

    def __getitem__(self, index: int) -> Tensor:
        """Read an image."""
        if self.records is None:
            builder = crowd.prepare(self.folder, self.case["images"], self.case["size"])
            self.records = Records(builder, ("image",))
        return torch.from_numpy(Look(self.case["size"])(self.records[index]["image"]))


def chunks(case: Mapping[str, int], folder: str, device: str) -> Iterator[Tensor]:
    """Yield the chunks of a DataLoader, on the device."""
    workers = {"num_workers": case["workers"], "multiprocessing_context": "spawn"}
    for chunk in torch.utils.data.DataLoader(Files(folder, case), case["chunk"], shuffle=True, **workers):
        yield chunk.to(device)
