"""Folds, splits and label fractions."""

import itertools

import numpy as np
import pytest

from cxr_jax.data import splits

IDS = [f"image{number:03}" for number in range(247)]


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
