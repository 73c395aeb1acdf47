"""Prepared datasets that are too large for memory: which of their images are held there, and which stream.

Only ids and patients are decoded to tell. The images in memory are chosen by chance, patient by patient where these are
known; what validates and tests is among them, so that nobody's images are on both sides.
"""

import zlib
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from jaxtyping import Int

from cxr_jax.data import splits
from cxr_jax.data.look import Look
from cxr_jax.data.prepared import text
from cxr_jax.data.stream import Records, Stream

NAMES = ("id", "patient")  # of a record
SEED = 0  # of the choice, which is one for all experiments, so that their figures are of the same images


class Large(NamedTuple):
    """A prepared dataset, the ids and patients (None where unknown) of its records, and which are held in memory."""

    builder: tfds.core.DatasetBuilder
    ids: tuple[str, ...]
    patients: tuple[str, ...] | None
    held: Int[np.ndarray, " m"]

    @property
    def name(self) -> str:
        """The name of the dataset with its version; that of a folder tells its content."""
        return self.builder.info.full_name

    @property
    def checksum(self) -> str:
        """A checksum of the images and of whose each is, not of their masks: equal data, equal string."""
        images = getattr(self.builder.builder_config, "identity", self.name)
        whose = sorted(zip(self.ids, self.patients or self.ids, strict=True))
        return f"{zlib.crc32(repr((images, whose)).encode()):08x}"

    @property
    def people(self) -> int:
        """How many patients those in memory are of; where these are unknown, how many images there are."""
        return len({(self.patients or self.ids)[place] for place in self.held})

    def stream(self, left_out: Collection[str], look: Look) -> Stream:
        """Return the stream of all images but those whose ids are `left_out`."""
        left_out = set(left_out)
        rest = sorted((name, place) for place, name in enumerate(self.ids) if name not in left_out)
        places = np.array([place for _, place in rest])
        return Stream(self.name, self.checksum, Records(self.builder, ("image",)), places, look)


def count(builder: tfds.core.DatasetBuilder) -> int:
    """Return how many images a prepared dataset has."""
    return builder.info.splits["train"].num_examples


def choose(builder: tfds.core.DatasetBuilder, most: int) -> Large:
    """Return a prepared dataset with at most `most` of its images, always the same, to be held in memory."""
    logging.info("%s: reading ids of %d images", builder.info.full_name, count(builder))
    known = [name for name in NAMES if name in builder.info.features]
    records = Records(builder, known)
    rows = [tuple(text(row[name]) for name in known) for row in map(records.__getitem__, range(len(records)))]
    ids, *more = zip(*rows, strict=True)
    patients = more[0] if more else None
    return Large(builder, ids, patients, splits.sample(ids, most, SEED, patients))
