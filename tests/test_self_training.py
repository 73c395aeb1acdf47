"""Which masks teach M_A in self-training."""

import dataclasses
import json

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


@pytest.mark.parametrize("labels", [0, 1])
def test_where_hardly_any_mask_can_be_the_organ_all_teach_and_the_log_says_so(caplog, labels):
    truth = np.stack([SOUND] * 6)
    known = np.arange(6) < labels
    data, split = self_training.taught(draw, target([10] * 6, truth), SPLIT, known, SHAPE)
    assert split.train.tolist() == [0, 2, 3]
    np.testing.assert_array_equal(data.masks[0], SOUND if labels else BLOB)
    np.testing.assert_array_equal(data.masks[2], BLOB)
    assert f"train: 0 of {3 - labels} masks can be the organ; all are taken" in caplog.text


def test_a_part_of_the_split_with_none_does_not_decide_for_the_other():
    _, split = self_training.taught(draw, target([10, 10, 10, 10, 10, 200]), SPLIT, NOTHING, SHAPE)
    assert split.train.tolist() == [0, 2, 3]
    assert split.validation.tolist() == [5]


def test_what_teaches_is_written_down(tmp_path):
    self_training.record(tmp_path / "stage", SPLIT, np.array([False, True, True, False, False, False]))
    assert json.loads((tmp_path / "stage" / self_training.FILE).read_text()) == {"labels": 1, "own": 2}
