"""Which masks teach M_A in self-training."""

import dataclasses

import numpy as np
import pytest

from cxr_jax import self_training
from cxr_jax.data.radiographs import Radiographs
from cxr_jax.data.splits import Split
from cxr_jax.plausibility import Shape

SPLIT = Split(train=np.array([0, 2, 3]), validation=np.array([5, 1]), test=np.array([4]))
NOTHING = np.zeros(6, bool)


def organ(rows: slice, columns: slice) -> np.ndarray:
    """Return one mask of 32x32."""
    mask = np.zeros((32, 32, 1), np.uint8)
    mask[rows, columns] = 1
    return mask


SOUND, BLOB = organ(slice(8, 20), slice(8, 20)), organ(slice(28, 32), slice(0, 4))
SHAPE = Shape.of(np.stack([SOUND, SOUND]))


def draw(images: np.ndarray) -> np.ndarray:
    """Stand for a transferred model, which draws a blob where an image is below 100."""
    return np.where(images[:, :1, :1] < 100, BLOB, SOUND).astype(bool)


def target(levels, masks=None) -> Radiographs:
    images = np.broadcast_to(np.array(levels, np.uint8)[:, None, None, None], (6, 32, 32, 1)).copy()
    return Radiographs("b", images, masks, tuple("abcdef"))


def test_masks_that_can_be_the_organ_teach():
    images = target([200, 10, 10, 201, 202, 203])
    seen = []

    def watched(images: np.ndarray) -> np.ndarray:
        seen.extend(images[:, 0, 0, 0].tolist())
        return draw(images)

    data, split = self_training.taught(watched, images, SPLIT, NOTHING, SHAPE)
    assert split.train.tolist() == [0, 3]
    assert split.validation.tolist() == [5]
    assert len(split.test) == 0
    assert set(seen) == {200, 10, 201, 203}  # and no test image
    for row in (*split.train, *split.validation):
        np.testing.assert_array_equal(data.masks[row], SOUND)
    assert not data.masks[4].any()
    np.testing.assert_array_equal(data.images, images.images)


def test_labels_that_are_known_are_kept_and_no_others_are_read():
    truth = np.stack([organ(slice(row, row + 12), slice(8, 20)) for row in range(6)])
    images = target([200, 10, 10, 201, 202, 203], truth)
    known = np.array([False, True, True, False, False, True])
    data, split = self_training.taught(draw, images, SPLIT, known, SHAPE)
    assert split.train.tolist() == [0, 2, 3]
    assert split.validation.tolist() == [5, 1]
    for row in np.flatnonzero(known):
        np.testing.assert_array_equal(data.masks[row], truth[row])
    for row in (0, 3):
        np.testing.assert_array_equal(data.masks[row], SOUND)
    hidden = dataclasses.replace(images, masks=np.where(known[:, None, None, None], truth, 1 - truth))
    other, _ = self_training.taught(draw, hidden, SPLIT, known, SHAPE)
    np.testing.assert_array_equal(other.masks, data.masks)


def test_where_no_mask_can_be_the_organ_all_teach_and_the_log_says_so(caplog):
    data, split = self_training.taught(draw, target([10] * 6), SPLIT, NOTHING, SHAPE)
    assert split.train.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(data.masks[0], BLOB)
    assert "no mask can be the organ" in caplog.text


@pytest.mark.parametrize("count", [0, 1])
def test_one_part_of_the_split_may_have_none(count):
    levels = [200 if row < count else 10 for row in range(6)]
    levels[5] = 200
    _, split = self_training.taught(draw, target(levels), SPLIT, NOTHING, SHAPE)
    assert split.train.tolist() == ([0] if count else [0, 2, 3])
    assert split.validation.tolist() == [5]
