"""Intervals, the paired test and its correction against known values and other formulas."""

import inspect
from itertools import product
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from cxr_jax import statistics

RNG = np.random.default_rng(0)


def by_id(values) -> dict[str, float]:
    return {f"{index:03d}": float(value) for index, value in enumerate(values)}


def test_bootstrap_interval_of_normal_values_is_that_of_theory():
    values = RNG.normal(90.0, 5.0, 400)
    low, high = statistics.bootstrap_interval(values)
    reach = 1.96 * values.std() / np.sqrt(400)
    np.testing.assert_allclose((low, high), (values.mean() - reach, values.mean() + reach), atol=0.1 * reach)


def test_bootstrap_interval_follows_the_definition_of_bca():
    """Efron's formulas with other resamples: the limits agree up to the noise of 20000 of them."""
    values, normal = RNG.exponential(size=40), NormalDist()
    means = RNG.choice(values, (20000, 40)).mean(axis=1)
    bias = normal.inv_cdf((means < values.mean()).mean())
    residual = values - values.mean()
    acceleration = (residual**3).sum() / (6 * (residual**2).sum() ** 1.5)
    expected = []
    for level in (0.05, 0.95):
        z = bias + normal.inv_cdf(level)
        expected.append(np.quantile(means, normal.cdf(bias + z / (1 - acceleration * z))))
    found = statistics.bootstrap_interval(values, confidence=0.9, resamples=20000)
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert found[1] - values.mean() > values.mean() - found[0]  # skewed as the values are


def test_bootstrap_interval_depends_on_the_seed_alone():
    values = RNG.normal(size=30)
    first = statistics.bootstrap_interval(values, resamples=500, seed=3)
    assert first == statistics.bootstrap_interval(values.tolist(), resamples=500, seed=3)
    assert first != statistics.bootstrap_interval(values, resamples=500, seed=4)


def test_bootstrap_interval_grows_with_confidence():
    values = RNG.normal(size=30)
    narrow, wide = (statistics.bootstrap_interval(values, confidence=level) for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < values.mean() < narrow[1] < wide[1]


@pytest.mark.parametrize("values", [[87.3], [0.1] * 3, [0] * 7, np.full(5, 0.7, np.float32)])
def test_bootstrap_interval_without_spread_is_the_mean(values):
    assert statistics.bootstrap_interval(values) == (values[0], values[0])


def test_bootstrap_interval_of_nearly_constant_values_is_finite():
    above = np.nextafter(1.0, 2.0)
    low, high = statistics.bootstrap_interval([1.0, 1.0, above])
    assert 1.0 <= low <= high <= above


def test_t_interval_by_the_table():
    """2.776 is the table's t of 4 degrees of freedom at 5 %, two-sided; these folds have s / sqrt(5) = sqrt(0.5)."""
    np.testing.assert_allclose(
        statistics.t_interval([1, 2, 3, 4, 5]), 3 + np.array([-1, 1]) * 2.776 * np.sqrt(0.5), 1e-3
    )
    np.testing.assert_allclose(
        statistics.t_interval([1, 2, 3, 4, 5], confidence=0.99), 3 + np.array([-1, 1]) * 4.604 * np.sqrt(0.5), 1e-3
    )


def test_t_interval_and_t_test_agree():
    """The limits are the means that a t-test at 5 % just does not reject."""
    values = RNG.normal(size=5)
    for limit in statistics.t_interval(values):
        assert stats.ttest_1samp(values, limit).pvalue == pytest.approx(0.05)


def test_t_interval_of_constant_values_is_the_mean():
    assert statistics.t_interval([80.0] * 5) == (80.0, 80.0)


def test_paired_test_counts_all_signs_of_few_images():
    """Ranks 1 to 6 with signs - + + + + +: of 64 equally likely sums of ranks, those as far from the middle."""
    differences = np.array([-0.1, 0.2, 0.4, 0.7, 1.1, 1.6])
    result = statistics.paired_test(by_id(differences + 50), by_id(np.full(6, 50.0)))
    ranks = np.arange(1, 7)
    sums = np.array([np.dot(signs, ranks) for signs in product((-1, 1), repeat=6)])
    assert result.p_value == pytest.approx((np.abs(sums) >= 19).mean())
    assert result.effect == pytest.approx(19 / 21)
    assert result.difference == pytest.approx(differences.mean())
    assert result.count == 6


def test_paired_test_of_many_images_is_that_of_the_normal_law():
    differences = RNG.normal(0.2, 1.0, 200)
    one = RNG.normal(80.0, 5.0, 200)
    result = statistics.paired_test(by_id(one + differences), by_id(one))
    signed = np.sign(differences) * (np.abs(differences).argsort().argsort() + 1)
    z = abs(signed.sum()) / np.sqrt((signed.astype(float) ** 2).sum())
    assert result.p_value == pytest.approx(2 * (1 - NormalDist().cdf(z)), rel=1e-6)
    assert result.effect == pytest.approx(signed.sum() / (200 * 201 / 2))


def test_paired_test_turns_with_its_sides():
    one, other = by_id(RNG.normal(size=12)), by_id(RNG.normal(size=12))
    forth, back = statistics.paired_test(one, other), statistics.paired_test(other, one)
    assert forth.p_value == pytest.approx(back.p_value)
    np.testing.assert_allclose((forth.difference, forth.effect), (-back.difference, -back.effect))


def test_paired_test_pairs_by_id():
    one, other = by_id(RNG.normal(size=12)), by_id(RNG.normal(size=12))
    shuffled = dict(reversed(other.items()))
    assert statistics.paired_test(one, other) == statistics.paired_test(one, shuffled)


def test_paired_test_leaves_equal_images_out_of_the_ranks_only():
    one, other = RNG.normal(size=(2, 20))
    result = statistics.paired_test(by_id(one), by_id(other))
    longer = statistics.paired_test(by_id([*one, 1.0, 2.0, 3.0]), by_id([*other, 1.0, 2.0, 3.0]))
    assert (longer.p_value, longer.effect) == (result.p_value, result.effect)
    assert longer.count == 23
    assert longer.difference == pytest.approx(result.difference * 20 / 23)


@pytest.mark.parametrize("count", [1, 2, 20, 100])
def test_paired_test_of_ties(count):
    result = statistics.paired_test(by_id([2.0] * count), by_id([1.0] * count))
    assert 0 < result.p_value <= 1
    assert result == (1.0, result.p_value, 1.0, count)


def test_paired_test_of_equal_models():
    values = by_id(RNG.normal(size=20))
    assert statistics.paired_test(values, dict(values)) == (0.0, 1.0, 0.0, 20)


def test_paired_test_names_the_missing_images():
    one, other = by_id(range(9)), by_id(range(2))
    with pytest.raises(ValueError, match=r"the second lacks 7 \(002, 003, 004, 005, 006, \.\.\.\)$"):
        statistics.paired_test(one, other)
    with pytest.raises(ValueError, match=r"the first lacks 1 \(b\) and the second lacks 1 \(a\)$"):
        statistics.paired_test({"a": 1.0}, {"b": 1.0})


@pytest.mark.parametrize("values", [{}, {"a": float("nan")}, {"a": float("inf")}])
def test_paired_test_needs_finite_values(values):
    with pytest.raises(ValueError, match="one or more finite numbers"):
        statistics.paired_test(values, values)


def test_holm_by_hand():
    """In order 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1, none below the one before it."""
    np.testing.assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(statistics.holm([0.5, 0.6, 0.04]), [1.0, 1.0, 0.12])
    np.testing.assert_allclose(statistics.holm([0.02, 0.02]), [0.04, 0.04])
    np.testing.assert_allclose(statistics.holm([0.3]), [0.3])


def test_holm_rejects_what_its_steps_reject():
    """Holm (1979): from the smallest, reject while p <= alpha / (tests left)."""
    for alpha in (0.01, 0.05, 0.2):
        p_values = RNG.uniform(size=12) ** 4
        rejected = np.zeros(12, bool)
        for left, index in zip(range(12, 0, -1), np.argsort(p_values), strict=True):
            if p_values[index] > alpha / left:
                break
            rejected[index] = True
        np.testing.assert_array_equal(statistics.holm(p_values) <= alpha, rejected)


@pytest.mark.parametrize("p_values", [[-0.1, 0.2], [0.5, 1.1]])
def test_holm_needs_probabilities(p_values):
    with pytest.raises(ValueError, match=r"p-values must be in \[0, 1\]"):
        statistics.holm(p_values)


@pytest.mark.parametrize("values", [[], [1.0, np.nan], np.ones((2, 2)), 1.0])
@pytest.mark.parametrize("name", ["bootstrap_interval", "t_interval", "holm"])
def test_values_must_be_finite_numbers(name, values):
    with pytest.raises(ValueError, match=r"one or more finite numbers \(n\), found shape"):
        inspect.unwrap(getattr(statistics, name))(values)  # without the tests' own check of the annotations


def test_settings_must_be_in_range():
    for interval in (statistics.bootstrap_interval, statistics.t_interval):
        for confidence in (0.0, 1.0, 95.0):
            with pytest.raises(ValueError, match="confidence must be between 0 and 1"):
                interval([1.0, 2.0], confidence=confidence)
    with pytest.raises(ValueError, match="resamples must be at least 2"):
        statistics.bootstrap_interval([1.0, 2.0], resamples=1)
    with pytest.raises(ValueError, match="at least two values, found 1"):
        statistics.t_interval([1.0])
