"""How sure a mean is, and whether two models differ: intervals, a paired test and its correction for many tests."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

Values = Sequence[float] | Real[np.ndarray, " n"]

BATCH = 1000  # resamples drawn at a time: the memory is that of BATCH copies of the values
NAMED = 5  # ids that an error lists


class PairedTest(NamedTuple):
    """Two models on the same images.

    `difference` is the mean of the first's values less the second's, in their unit. `p_value` is two-sided. `effect`
    is the rank-biserial correlation, from -1 (the second's value is the larger on every image that tells them apart)
    over 0 to 1 (the first's is). `count` is the number of images.
    """

    difference: float
    p_value: float
    effect: float
    count: int


def bootstrap_interval(
    values: Values, *, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> tuple[float, float]:
    """Return a bootstrap confidence interval (low, high) of the mean, in the unit of the values.

    Bias-corrected and accelerated (Efron, 1987), or plain percentiles where rounding or too few resamples leave that
    undefined. One value, or equal ones, have but one mean in every resample, so theirs is (mean, mean). The same seed
    gives the same interval. Raises `ValueError` where the values are none, not finite or not one-dimensional, or
    `confidence` or `resamples` is out of range.
    """
    values = _numbers(values)
    _check_confidence(confidence)
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, found {resamples}")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    interval = _bootstrap(values, confidence, resamples, seed, "BCa")
    return interval if np.isfinite(interval).all() else _bootstrap(values, confidence, resamples, seed, "percentile")


def _bootstrap(values: np.ndarray, confidence: float, resamples: int, seed: int, method: str) -> tuple[float, float]:
    """Return the interval of the mean by one of SciPy's methods; nan where that is undefined."""
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=resamples,
            batch=BATCH,
            confidence_level=confidence,
            method=method,
            rng=np.random.default_rng(seed),
        )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def t_interval(values: Values, *, confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's confidence interval (low, high) of the mean of a few values, one a fold, in their unit.

    The mean plus or minus t(n - 1) s / sqrt(n), as the paper's means over five folds have at p <= 0.05. Folds share
    training images, which this does not know of, so it is rather too narrow (Nadeau and Bengio, 2003). Raises
    `ValueError` where the values are fewer than two, which have no spread, not finite or not one-dimensional, or
    `confidence` is out of range.
    """
    values = _numbers(values)
    _check_confidence(confidence)
    if len(values) < 2:
        raise ValueError("an interval over folds needs at least two values, found 1")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    low, high = stats.t.interval(confidence, len(values) - 1, values.mean(), stats.sem(values))
    return float(low), float(high)


def paired_test(one: Mapping[str, float], other: Mapping[str, float]) -> PairedTest:
    """Test by Wilcoxon's signed ranks whether two models differ on the same images, {image id: value}.

    Images on which they are equal say nothing of a direction and are left out of the ranks; where all are equal, p is
    1 and the effect 0. The p-value is exact up to 50 images without ties, else of the normal approximation (of all
    signs where few images have ties). Raises `ValueError` where the ids differ or are none, or a value is not finite.
    """
    _check_ids(one, other)
    differences = _numbers([one[key] for key in one]) - _numbers([other[key] for key in one])
    telling = differences[differences != 0]
    difference, count = float(differences.mean()), len(differences)
    if not len(telling):
        return PairedTest(difference, 1.0, 0.0, count)
    ranks = stats.rankdata(np.abs(telling))
    effect = float((np.sign(telling) * ranks).sum() / ranks.sum())
    return PairedTest(difference, float(stats.wilcoxon(telling).pvalue), effect, count)


def holm(p_values: Values) -> Float[np.ndarray, " n"]:
    """Return the p-values of a family of tests adjusted by Holm's step-down method, in the order given.

    A test whose adjusted value is at most alpha is rejected; the chance of any false rejection in the family is then at
    most alpha, however the tests depend on each other. Raises `ValueError` where the p-values are none, not in [0, 1]
    or not one-dimensional.
    """
    p_values = _numbers(p_values)
    if p_values.min() < 0 or p_values.max() > 1:
        raise ValueError(f"p-values must be in [0, 1], found {p_values.min()} to {p_values.max()}")
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def _numbers(values: Any) -> np.ndarray:
    """Return the values as float64 (n); raise `ValueError` where that is not at least one finite number."""
    array = np.asarray(values, float)
    if array.ndim != 1 or not array.size or not np.isfinite(array).all():
        raise ValueError(f"expected one or more finite numbers (n), found shape {array.shape}: {array}")
    return array


def _check_confidence(confidence: float) -> None:
    """Raise `ValueError` where `confidence` is no level of an interval."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, found {confidence}")


def _check_ids(one: Mapping[str, float], other: Mapping[str, float]) -> None:
    """Raise `ValueError` with the ids that either side lacks."""
    missing = {"first": sorted(other.keys() - one.keys()), "second": sorted(one.keys() - other.keys())}
    found = [f"the {side} lacks {len(ids)} ({_some(ids)})" for side, ids in missing.items() if ids]
    if found:
        raise ValueError(f"expected values of the same images on both sides; {' and '.join(found)}")


def _some(ids: list[str]) -> str:
    """Return the first of the ids, for an error."""
    return ", ".join(ids[:NAMED]) + (", ..." if len(ids) > NAMED else "")
