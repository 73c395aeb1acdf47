"""Masks with faults: of the kinds that segmenters make, reproducible, and never of nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cxr_jax.data import spoiling

SIDE, NUMBER = 64, 200
ROWS, COLUMNS = np.ogrid[:SIDE, :SIDE]
LUNGS = np.zeros((SIDE, SIDE), np.float32)
for middle in (18, 46):
    LUNGS[((ROWS - 32) / 22) ** 2 + ((COLUMNS - middle) / 10) ** 2 < 1] = 1
MASKS = jnp.broadcast_to(jnp.asarray(LUNGS)[None, :, :, None], (NUMBER, SIDE, SIDE, 1))


def spoilt(seed: int = 0, masks=MASKS) -> np.ndarray:
    return np.asarray(spoiling.spoil(jax.random.key(seed), masks))[..., 0]


def test_faults_are_random_and_reproducible():
    one, again, other = spoilt(), spoilt(), spoilt(1)
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    assert set(np.unique(one)) == {0.0, 1.0}
    assert (
        len(np.unique(one.reshape(NUMBER, -1), axis=0)) > 0.9 * NUMBER / 2
    )  # no two alike, those without faults apart


def test_every_kind_of_fault_is_made():
    found = spoilt()
    inside = LUNGS > 0
    lost = (found[:, inside] == 0).mean(axis=1)
    far = ndimage.distance_transform_edt(~inside) > 4
    blobs = (found[:, far] == 1).any(axis=1)
    assert 0.1 < (lost < 0.03).mean() < 0.6  # hardly anything missing
    assert 0.2 < (lost > 0.1).mean() < 0.7  # a part cut off or bitten out
    assert 0.1 < blobs.mean() < 0.4
    left, right = (found[:, :, half].sum(axis=(1, 2)) for half in (slice(0, 32), slice(32, 64)))
    whole = LUNGS.sum() / 2
    assert ((left < 0.8 * whole) & (right > 0.95 * whole)).any()
    assert ((right < 0.8 * whole) & (left > 0.95 * whole)).any()


def test_what_is_left_is_most_of_it_and_lies_where_it_was():
    overlap = (spoilt() * LUNGS).sum(axis=(1, 2)) / LUNGS.sum()
    assert np.quantile(overlap, 0.05) > 0.3
    assert overlap.mean() > 0.8


@pytest.mark.parametrize("kind", ["CUT", "BITE", "BLOB"])
def test_without_a_kind_of_fault_there_is_less_that_is_wrong(monkeypatch, kind):
    before = np.abs(spoilt() - LUNGS).sum()
    monkeypatch.setattr(spoiling, kind, 0.0)
    assert np.abs(spoilt() - LUNGS).sum() < before


def test_blank_masks_stay_finite_and_gain_blobs_alone():
    blank = spoilt(masks=jnp.zeros_like(MASKS))
    assert np.isfinite(blank).all()
    assert 0.1 < blank.any(axis=(1, 2)).mean() < 0.5
