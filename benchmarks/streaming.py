"""Reading a target too large for memory, ours against a PyTorch DataLoader: `python -m benchmarks.streaming`.

Both read the same files, image by image in random order, show the images alike and put them on the device in chunks;
the DataLoader has as many workers (processes) as ours has threads. Each has a process of its own, in turns. The images
are made once. A second row has the peak of ours in memory after all images, and after the first thousand, in a process
that has made none of them and holds no PyTorch.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import app, flags

from benchmarks import crowd, measure, processes
from cxr_jax.data.look import Look
from cxr_jax.data.stream import THREADS, Chunks, Records, Stream

IMAGES = flags.DEFINE_integer("images", 20_000, "How many images there are, and are read.")
CHUNK = flags.DEFINE_integer("chunk", 148, "Images of an epoch; by default those that train of JSRT.")
FOLDER = flags.DEFINE_string(
    "data_dir", str(Path(tempfile.gettempdir()) / "cxr_jax_streaming"), "Where the images are made."
)
EARLY = 1000  # images after which memory is looked at first
PEER = "PyTorch DataLoader"
PROGRAM = "import sys; from benchmarks import streaming; streaming.alone(*sys.argv[1:])"


def main(_: list[str]) -> None:
    """Measure what the flags say, once a round."""
    crowd.prepare(FOLDER.value, IMAGES.value, measure.SIZE.value)
    case = {"images": IMAGES.value, "size": measure.SIZE.value, "chunk": CHUNK.value, "workers": THREADS}
    found = {"ours": [], PEER: []}
    for _ in range(measure.ROUNDS.value):
        for name, values in found.items():
            values.append(_measured(case, name))
    seconds = {name: statistics.median(value["seconds"] for value in values) for name, values in found.items()}
    measure.report("reading 1000 images", case, {name: 1e6 * value for name, value in seconds.items()})
    print(*(f"  {name}: {1 / value:.0f} images a second" for name, value in seconds.items()), sep="\n")
    peaks = found["ours"][0]["peaks"]
    first, last = peaks[str(min(EARLY, IMAGES.value))], peaks[str(IMAGES.value)]
    measure.report("peak memory of reading", case, {"ours": last, f"after {EARLY} images": first}, unit="mib")
    print(*(f"  after {images} images: {peak:.0f} MiB" for images, peak in peaks.items()), sep="\n")


def alone(case: str, folder: str, name: str) -> None:
    """Read all images in this process; print the time of an image, in s, and the peak of memory on the way, in MiB."""
    case = json.loads(case)
    chunks = (_ours if name == "ours" else _peer)(case, folder)
    next(chunks)
    quarters = (case["images"] * part // 4 for part in range(1, 5))
    read, marks, peaks = case["chunk"], sorted({min(EARLY, case["images"]), *quarters}), {}
    start = time.perf_counter()
    for chunk in chunks:
        read += len(chunk)
        while marks and read >= marks[0]:
            peaks[marks.pop(0)] = processes.peak()
    print(json.dumps({"seconds": (time.perf_counter() - start) / (read - case["chunk"]), "peaks": peaks}))


def _measured(case: Mapping[str, int], name: str) -> dict[str, Any]:
    return json.loads(processes.result(PROGRAM, json.dumps(case), FOLDER.value, name))


def _ours(case: Mapping[str, int], folder: str) -> Iterator[jax.Array]:
    """Yield chunks until all images have been read, as the transfer has them."""
    builder = crowd.prepare(folder, case["images"], case["size"])
    places = np.arange(case["images"])
    stream = Stream("crowd", "", Records(builder, ("image",)), places, Look(case["size"]))
    chunks = Chunks(stream, case["chunk"], seed=0)
    for index in range(-(-case["images"] // case["chunk"])):
        yield jax.block_until_ready(chunks.at(index))
    chunks.close()


def _peer(case: Mapping[str, int], folder: str) -> Iterator[Any]:
    """Yield the chunks of a DataLoader, on the device."""
    from benchmarks.peers import reading, training

    yield from reading.chunks(case, folder, training.device(jax.default_backend()))


if __name__ == "__main__":
    app.run(main)
