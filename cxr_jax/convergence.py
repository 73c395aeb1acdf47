"""Whether a transfer has converged, told without a label of the target.

The paper calls its lack of stability a pressing question and repeated, by eye, what had failed (section VII). Here the
images alone say it, epoch by epoch:

- `cycle_error`: mean `|G_BA(G_AB(a)) - a|` and `|G_AB(G_BA(b)) - b|`, as a share of the mean distance of the images
  from their own means. 0 is perfect; at 1 a uniform grey would do as well.
- `balance`: the mean loss of both discriminators, a scale. 0.5 where they cannot tell real from translated, 0 where
  they always can and the translator learns nothing from them.
- `agreement`: Jaccard, in percent, of M_A on a and on the translation of a that it is shown after the transfer.
- `sane`: the share, in percent, of target images whose tidied masks can be the organ (`cxr_jax.plausibility`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from cxr_jax import devices, evaluation, journal, metrics
from cxr_jax.checkpoints import CheckpointError
from cxr_jax.data import sampling
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.files import read_json, write_json
from cxr_jax.plans import Convergence
from cxr_jax.plausibility import Shape
from cxr_jax.postprocessing import tidied
from cxr_jax.training import Later, Trained, TrainingDiverged
from cxr_jax.views import Views

FILE = "convergence.json"


class Verdict(NamedTuple):
    """The faults of a stage at its chosen epoch, in words; none where it has converged."""

    epoch: int
    faults: list[str]


class Distances(NamedTuple):
    """The mean distance of each image, in [0, 1], from what came back of it (`cycle`), and from its own mean."""

    cycle: Float[Array, " n"]
    mean: Float[Array, " n"]


class Seen(NamedTuple):
    """What a model makes of both datasets' images: its masks, and how far images are from what came back."""

    source: Bool[Array, "n h w 1"]
    cycle: Bool[Array, "n h w 1"]
    target: Bool[Array, "m h w 1"]
    source_distances: Distances
    target_distances: Distances


def see(views: Views, model: Any, source: Radiographs, target: Radiographs) -> Seen:
    """Send off, batch by batch, what a model makes of both datasets' images; translations are not kept."""

    def of_source(a: UInt8[np.ndarray, "b h w 1"]) -> tuple[Array, Array, Distances]:
        of = views.of_source(model, a)
        return of.masks, of.cycle_masks, _distances(a, of.a_to_b_to_a)

    def of_target(b: UInt8[np.ndarray, "b h w 1"]) -> tuple[Array, Distances]:
        of = views.of_target(model, b)
        return of.masks, _distances(b, of.b_to_a_to_b)

    masks, cycle_masks, source_distances = evaluation.in_batches(of_source, source.images)
    target_masks, target_distances = evaluation.in_batches(of_target, target.images)
    return Seen(masks, cycle_masks, target_masks, source_distances, target_distances)


def measure(seen: Seen, shape: Shape) -> Later:
    """Send off what gives `cycle_error`, `agreement` and `sane` of a model. No label enters."""
    errors = [found.cycle.mean() / found.mean.mean() for found in (seen.source_distances, seen.target_distances)]
    error = sum(errors) / len(errors)
    agreement = jnp.mean(metrics.jaccard(seen.cycle, seen.source))
    return lambda: {
        "cycle_error": float(error),
        "agreement": float(agreement),
        "sane": 100.0 * float(shape.plausible(tidied(np.asarray(seen.target), shape.parts)).mean()),
    }


def judge(
    folder: Path, outcome: Trained | TrainingDiverged, limits: Convergence, *, scales: int, supervised: bool
) -> Verdict:
    """Return the verdict on a stage from the log in its folder; masks are judged once M_A takes part.

    `scales` is the number of each discriminator's. Raises `CheckpointError` where the log lacks the chosen epoch.
    """
    if isinstance(outcome, TrainingDiverged):
        return Verdict(0, [str(outcome)])
    rows = {row["epoch"]: row for row in journal.read(folder / journal.SCALARS)}
    if outcome.epoch not in rows:
        raise CheckpointError(
            f"{folder / 'scalars.jsonl'} lacks epoch {outcome.epoch}, of which there is a checkpoint: restore the log, "
            f"or remove {folder} to train the stage again"
        )
    return Verdict(outcome.epoch, faults(rows[outcome.epoch], limits, scales=scales, supervised=supervised))


def faults(row: Mapping[str, float], limits: Convergence, *, scales: int, supervised: bool) -> list[str]:
    """Return what is wrong with an epoch, given its line of the log, in words."""
    balance = (row["discriminator_a"] + row["discriminator_b"]) / (2 * scales)
    low, high = limits.balance
    found = []
    if not row["cycle_error"] <= limits.cycle_error:
        found.append(f"cycle_error {row['cycle_error']:.2f} is above {limits.cycle_error}")
    if not low <= balance <= high:
        found.append(f"balance {balance:.3f} is outside {low} to {high}")
    for name in ("agreement", "sane") if supervised else ():
        if not row[name] >= getattr(limits, name):
            found.append(f"{name} {row[name]:.1f} is below {getattr(limits, name)}")
    return found


def failures(folder: Path) -> int:
    """Return how many trials of a stage have been set aside."""
    return len(list(folder.parent.glob(f"{folder.name}_failed_*")))


def set_aside(folder: Path, trial: int) -> None:
    """Make room for another trial, when all processes have read what is there."""
    devices.wait_for_all("judged")
    if devices.is_primary():
        folder.rename(folder.with_name(f"{folder.name}_failed_{trial}"))
    devices.wait_for_all("set aside")


def record(folder: Path, verdict: Verdict, restarts: int) -> None:
    """Write down, in a stage's folder, whether it converged."""
    content = {"converged": not verdict.faults, "restarts": restarts, **verdict._asdict()}
    write_json(folder / FILE, content)


def recorded(*folders: Path) -> dict[str, Any]:
    """Return `converged`, `restarts` and the `faults` of stages taken together.

    Raises `CheckpointError` for a stage that has not been judged.
    """
    for folder in folders:
        if not (folder / FILE).exists():
            raise CheckpointError(f"stage {folder} is not finished: give the command with --mode=train")
    records = [read_json(folder / FILE) for folder in folders]
    return {
        "converged": all(record["converged"] for record in records),
        "restarts": sum(record["restarts"] for record in records),
        "faults": [
            f"{folder.name}: {fault}" for folder, r in zip(folders, records, strict=True) for fault in r["faults"]
        ],
    }


@jax.jit
def _distances(images: UInt8[Array, "n h w 1"], cycle: Float[Array, "n h w 1"]) -> Distances:
    images, cycle = sampling.to_unit(images), sampling.from_network(cycle)
    means = images.mean(axis=(1, 2, 3), keepdims=True)
    return Distances(*(jnp.abs(images - others).mean(axis=(1, 2, 3)) for others in (cycle, means)))
