"""Flags of the benchmarks of whole networks."""

from absl import flags

from cxr_jax.models import PRECISIONS

DIVIDED = flags.DEFINE_integer("divide_widths_by", 1, "Narrower networks, for a CPU.")
PRECISION = flags.DEFINE_enum(
    "precision", "float32", PRECISIONS, "In which our networks compute; the peers have theirs."
)
