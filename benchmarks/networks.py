"""The networks that are measured, as flags say."""

from collections.abc import Iterator

from absl import flags

from benchmarks import measure
from benchmarks.segmentation_case import SegmentationCase
from benchmarks.transfer_case import SIZES, TransferCase
from cxr_jax.models import PRECISIONS

WIDTHS = {"unet": 64, "fcn": 64, "segnet": 64, "invertednet": 256, "scan": 8}  # the papers'

DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")
PRECISION = flags.DEFINE_enum(
    "precision", "float32", PRECISIONS, "In which our networks compute; the peers have theirs."
)
SEGMENTERS = flags.DEFINE_list("segmenters", list(WIDTHS), "Which segmenters, where steps of these are measured.")
NETWORKS = flags.DEFINE_list(
    "networks", list(SIZES), "Which sizes of MUNIT, where iterations are: the paper's authors' or its own."
)


def segmenter(name: str) -> SegmentationCase:
    """Return a step of a segmenter."""
    width = WIDTHS[name] // DIVIDED.value
    return SegmentationCase(name, width, measure.SIZE.value, measure.BATCH.value, PRECISION.value)


def transfer(sizes: str = "default") -> TransferCase:
    """Return an iteration of the method with MUNIT of these sizes."""
    return TransferCase(sizes, DIVIDED.value, measure.SIZE.value, measure.BATCH.value, PRECISION.value)


def segmenters() -> Iterator[SegmentationCase]:
    """Yield a step of each segmenter that is asked for."""
    return map(segmenter, SEGMENTERS.value)


def transfers() -> Iterator[TransferCase]:
    """Yield an iteration of the method for each size of MUNIT that is asked for."""
    return map(transfer, NETWORKS.value)
