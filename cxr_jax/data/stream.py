"""Training images that are read from disk while training goes on, by Grain.

Which images an epoch sees, and in which order, follows from a seed and the number of the epoch alone, so that nothing
has to be kept for a resumed run to go on with the images that an uninterrupted one would see.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grain
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Array, Int, UInt8

from cxr_jax.data.look import Look

THREADS = os.cpu_count() or 1


class Records:
    """The records of a prepared dataset by their place in it, of which only the features `names` are decoded."""

    def __init__(self, builder: tfds.core.DatasetBuilder, names: Sequence[str]):
        """Open the dataset."""
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._source = builder.as_data_source(split="train", deserialize_method=raw)
        self._features = tfds.features.FeaturesDict({name: builder.info.features[name] for name in names})

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._source)

    def __getitem__(self, place: int) -> Mapping[str, Any]:
        """Return the features of a record."""
        return self._features.deserialize_example_np(self._source[place])


@dataclass(frozen=True)
class Stream:
    """The images at some `places` of a prepared dataset, none of them in memory; a `checksum` tells it from others."""

    name: str
    checksum: str
    records: Records
    places: Int[np.ndarray, " n"]
    look: Look

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.places)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "s s 1"]:
        """Read an image."""
        return self.look(self.records[int(self.places[index])]["image"])

    def images(self, seed: int) -> grain.MapDataset:
        """Return the images in endless passes, each in a new order, by their position."""
        (own,) = np.random.SeedSequence(seed).generate_state(1)  # Grain's passes count on from a seed: keep seeds apart
        return grain.MapDataset.source(self).shuffle(int(own)).repeat()


class Chunks:
    """The images of a stream, `size` at a time, on the device: chunk e is what epoch e sees.

    The next chunk is read while one is used. So about three are held at once, however many images there are.
    """

    def __init__(self, stream: Stream, size: int, seed: int):
        """Read nothing yet."""
        self._images, self._size = stream.images(seed), size
        self._position, self._read = 0, None

    def at(self, index: int) -> UInt8[Array, "n s s 1"]:
        """Return a chunk: without delay, if it follows the one before and has been read meanwhile."""
        if self._read is None or index != self._position:
            self.close()
            self._read = self._from(index)
        self._position = index + 1
        return next(self._read)

    def _from(self, index: int) -> Iterator[UInt8[Array, "n s s 1"]]:
        """Return the chunks from one on."""
        options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=2 * THREADS)
        images = self._images.slice(slice(index * self._size, None)).to_iter_dataset(options)
        chunks = images.batch(self._size).map(jnp.asarray)
        return iter(grain.experimental.ThreadPrefetchIterDataset(chunks, prefetch_buffer_size=1))

    def close(self) -> None:
        """Stop reading."""
        if self._read is not None:
            self._read.close()
        self._read = None
