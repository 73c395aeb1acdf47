"""Folds, splits and label fractions. All depend on ids and a seed alone, never on the order of the data.

Where it is known whose the images are, all of a patient go to one part: images of one person are too alike to test on.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

FOLDS = 5


class Split(NamedTuple):
    """Indices into a dataset: 60 % to train, 20 % to choose an epoch, 20 % to test."""

    train: Int[np.ndarray, " n"]
    validation: Int[np.ndarray, " m"]
    test: Int[np.ndarray, " k"]


def folds(ids: Sequence[str], seed: int, patients: Sequence[str] | None = None) -> list[Int[np.ndarray, " k"]]:
    """Return five disjoint folds of indices whose sizes differ by one at most.

    With `patients`, the patient of each id, nobody is in two folds, whose sizes are as equal as that allows.
    """
    if len(set(ids)) != len(ids) or len(ids) < FOLDS:
        raise ValueError(f"expected at least {FOLDS} ids, each once, found {len(ids)} ({len(set(ids))} distinct)")
    if patients is None:
        return np.array_split(_shuffled(ids, seed, "folds"), FOLDS)
    groups = _by_patient(patients, seed, "folds")
    if len(groups) < FOLDS:
        raise ValueError(f"expected the images of at least {FOLDS} patients, found {len(groups)}")
    parts = [[] for _ in range(FOLDS)]
    for rows in sorted(groups, key=len, reverse=True):
        min(parts, key=len).extend(rows)
    return [np.array(part) for part in parts]


def split(ids: Sequence[str], fold: int, seed: int, patients: Sequence[str] | None = None) -> Split:
    """Return the split that tests on `fold` and validates on the next one (paper, section V-B)."""
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold must be 0 to {FOLDS - 1}, found {fold}")
    parts = folds(ids, seed, patients)
    validation = (fold + 1) % FOLDS
    rest = [part for index, part in enumerate(parts) if index not in (fold, validation)]
    return Split(np.sort(np.concatenate(rest)), np.sort(parts[validation]), np.sort(parts[fold]))


def training_share(count: int) -> int:
    """Return how many of `count` images train, whatever the fold: an epoch is as long in each."""
    return max(1, count * (FOLDS - 2) // FOLDS)


def labelled(
    ids: Sequence[str], label_frac: float, seed: int, patients: Sequence[str] | None = None
) -> Bool[np.ndarray, " n"]:
    """Return which of the training images `ids` keep their label.

    The fractions are nested (what is labelled at 5 % is labelled at 10 %), and any fraction above 0 keeps at
    least one label. With `patients`, all images of a patient keep theirs or none does: of as few patients as make up
    the fraction.
    """
    if not 0 <= label_frac <= 1:
        raise ValueError(f"label_frac must be in [0, 1], found {label_frac}")
    count = max(1, round(label_frac * len(ids))) if label_frac > 0 else 0
    kept = np.zeros(len(ids), bool)
    if patients is None:
        kept[_shuffled(ids, seed, "labels")[:count]] = True
        return kept
    for rows in _by_patient(patients, seed, "labels"):
        if kept.sum() < count:
            kept[rows] = True
    return kept


def sample(ids: Sequence[str], count: int, seed: int, patients: Sequence[str] | None = None) -> Int[np.ndarray, " n"]:
    """Return the indices of `count` images chosen by chance; with `patients`, of all images of patients, or of none.

    These may be fewer, where the next patient has more images than there is room for.
    """
    if patients is None:
        return np.sort(_shuffled(ids, seed, "sample")[:count])
    kept = []
    for rows in _by_patient(patients, seed, "sample"):
        if len(kept) + len(rows) <= count:
            kept.extend(rows)
    return np.sort(np.array(kept, int))


def _by_patient(patients: Sequence[str], seed: int, purpose: str) -> list[Int[np.ndarray, " k"]]:
    """Return each patient's indices, patients in a random order that does not depend on the order of the data."""
    rows: dict[str, list[int]] = {name: [] for name in sorted(set(patients))}
    for row, name in enumerate(patients):
        rows[name].append(row)
    names = list(rows)
    return [np.array(rows[names[number]]) for number in _shuffled(names, seed, purpose)]


def _shuffled(ids: Sequence[str], seed: int, purpose: str) -> Int[np.ndarray, " n"]:
    """Return indices of `ids` in a random order that does not depend on the order of `ids`."""
    generator = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    return np.argsort(np.asarray(ids), kind="stable")[generator.permutation(len(ids))]
