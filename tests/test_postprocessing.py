"""Masks mended by what is known of organs."""

import numpy as np
import pytest

from cxr_jax import postprocessing


def lungs() -> np.ndarray:
    mask = np.zeros((1, 20, 20, 1), bool)
    mask[:, 4:16, 2:8] = mask[:, 4:14, 12:18] = True
    return mask


def test_crumbs_go_and_holes_are_filled():
    broken = lungs()
    broken[:, 0, 0] = broken[:, 17:19, 9:12] = True
    broken[:, 8:10, 4:6] = False
    np.testing.assert_array_equal(postprocessing.tidied(broken, 2), lungs())


def test_the_largest_part_alone_is_left_where_one_is_asked_for():
    left = lungs()
    left[:, :, 10:] = False
    np.testing.assert_array_equal(postprocessing.tidied(lungs(), 1), left)


def test_a_part_weighs_by_how_sure_it_is():
    soft = lungs().astype(np.float32)
    soft[:, :, :8] *= 0.7  # the larger part
    alone = lungs()
    alone[:, :, :8] = False
    np.testing.assert_array_equal(postprocessing.tidied(soft, 1), alone)
    np.testing.assert_array_equal(postprocessing.tidied(soft, 2), lungs())
    soft[:, :, :8] *= 0.7  # no part any more
    np.testing.assert_array_equal(postprocessing.tidied(soft, 2), alone)


def test_masks_with_fewer_parts_stay_as_they_are():
    blank = np.zeros((1, 20, 20, 1), bool)
    both = np.concatenate([lungs(), blank])
    np.testing.assert_array_equal(postprocessing.tidied(both, 5), both)
    with pytest.raises(ValueError, match="parts must be at least 1, found 0"):
        postprocessing.tidied(both, 0)
