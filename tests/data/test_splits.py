"""Folds, splits and label fractions."""

import itertools
import zlib

import numpy as np
import pytest

from cxr_jax.data import splits

IDS = [f"image{number:03}" for number in range(247)]
SPLIT = [2133641312, 2125727758, 789835626]  # checksums of fold 1, seed 3, as runs on record have it
LABELLED = [54, 98, 123, 139, 204]


def test_folds_partition_the_data():
    parts = splits.folds(IDS, seed=0)
    assert sorted(len(part) for part in parts) == [49, 49, 49, 50, 50]
    assert sorted(np.concatenate(parts)) == list(range(247))


def test_split_is_60_20_20_and_its_test_set_is_a_fold():
    parts = splits.folds(IDS, seed=0)
    tests = []
    for fold in range(splits.FOLDS):
        split = splits.split(IDS, fold, seed=0)
        assert (len(split.train), len(split.validation), len(split.test)) == pytest.approx((148, 49, 49), abs=1)
        assert sorted(np.concatenate(split)) == list(range(247))
        assert set(split.test) == set(parts[fold])
        tests.append(split.test)
    assert sorted(np.concatenate(tests)) == list(range(247))


def test_a_split_depends_on_ids_and_seed_alone():
    shuffled = list(np.random.default_rng(1).permutation(IDS))
    for part, other in zip(splits.split(IDS, 1, 3), splits.split(shuffled, 1, 3), strict=True):
        assert {IDS[i] for i in part} == {shuffled[i] for i in other}
    assert set(splits.split(IDS, 1, 3).test) != set(splits.split(IDS, 1, 4).test)


def test_label_fractions_are_nested_and_never_empty():
    ids = IDS[:82]
    fractions = [0.0125, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0]
    kept = [splits.labelled(ids, fraction, seed=0) for fraction in fractions]
    assert [int(mask.sum()) for mask in kept] == [1, 2, 4, 8, 16, 41, 82]
    for fewer, more in itertools.pairwise(kept):
        assert (more | ~fewer).all()
    assert splits.labelled(ids, 1e-6, seed=0).sum() == 1
    assert splits.labelled(ids, 0.0, seed=0).sum() == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_label_fraction_out_of_range(fraction):
    with pytest.raises(ValueError, match="label_frac must be in"):
        splits.labelled(IDS, fraction, seed=0)


def test_fold_out_of_range_and_repeated_ids():
    with pytest.raises(ValueError, match="fold must be 0 to 4, found 5"):
        splits.split(IDS, 5, 0)
    with pytest.raises(ValueError, match="each once"):
        splits.folds(["a"] * 10, 0)


def people(seed: int) -> list[str]:
    """Return a patient for each of `IDS`: one to nine images each, in no order."""
    generator = np.random.default_rng(seed)
    return [f"patient{number:02}" for number in generator.permutation(np.repeat(np.arange(60), 9)[: len(IDS) * 2 : 2])]


def of(patients, rows) -> set[str]:
    return {patients[row] for row in rows}


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_two_parts(seed):
    patients = people(seed)
    for fold in range(splits.FOLDS):
        parts = splits.split(IDS, fold, seed, patients)
        assert sorted(np.concatenate(parts)) == list(range(247))
        for one, other in itertools.combinations(parts, 2):
            assert not of(patients, one) & of(patients, other)
        assert [len(part) for part in parts] == pytest.approx([148, 49, 49], abs=5)


def test_patients_of_very_different_size_leave_no_part_empty():
    patients = ["often"] * 200 + [f"once{number}" for number in range(47)]
    assert sorted(map(len, splits.folds(IDS, 0, patients))) == [11, 12, 12, 12, 200]


def test_a_split_by_patient_does_not_depend_on_the_order_of_the_data():
    patients, order = people(0), np.random.default_rng(1).permutation(247)
    shuffled, of_shuffled = [IDS[i] for i in order], [patients[i] for i in order]
    for part, other in zip(splits.split(IDS, 1, 3, patients), splits.split(shuffled, 1, 3, of_shuffled), strict=True):
        assert {IDS[i] for i in part} == {shuffled[i] for i in other}
    one = splits.labelled(IDS, 0.2, 0, patients)
    other = splits.labelled(shuffled, 0.2, 0, of_shuffled)
    np.testing.assert_array_equal(one[order], other)
    assert set(splits.split(IDS, 1, 3, patients).test) != set(splits.split(IDS, 1, 4, patients).test)


def test_label_fractions_by_patient_are_nested_and_whole():
    patients = people(0)
    kept = [splits.labelled(IDS, fraction, 0, patients) for fraction in (0.0, 1e-6, 0.05, 0.1, 0.5, 1.0)]
    for fewer, more in itertools.pairwise(kept):
        assert (more | ~fewer).all()
    for mask in kept:
        assert not of(patients, np.flatnonzero(mask)) & of(patients, np.flatnonzero(~mask))
    counts = [int(mask.sum()) for mask in kept]
    assert counts[0] == 0 < counts[1] < counts[2]
    for count, expected in zip(counts[2:], (12, 25, 124, 247), strict=True):
        assert expected <= count < expected + 9


def test_without_patients_splits_are_what_they_always_were():
    split = splits.split(IDS, 1, 3)
    assert [zlib.crc32(repr(part.tolist()).encode()) for part in split] == SPLIT
    assert np.flatnonzero(splits.labelled(IDS, 0.02, 3)).tolist() == LABELLED


def test_too_few_patients():
    with pytest.raises(ValueError, match="at least 5 patients, found 2"):
        splits.folds(IDS, 0, ["one"] * 200 + ["two"] * 47)
