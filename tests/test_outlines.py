"""Outlines of lungs beside the truth's: sides, offsets with their sign, thresholds, rows and their table."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from cxr_jax import inference, outlines
from cxr_jax.data import prepared
from cxr_jax.data.look import Look
from cxr_jax.report import outlines as report_outlines
from tests import tiny

PIXEL = 100 / 64  # in percent of the side


@pytest.fixture
def lungs():
    """Return two rectangles, of rows 16 to 47: columns 8 to 23 and 40 to 55."""
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:24] = mask[16:48, 40:56] = True
    return mask


def test_every_pixel_of_an_outline_looks_to_one_side(lungs):
    found = outlines.sides(lungs)
    assert tuple(found) == report_outlines.SIDES
    np.testing.assert_array_equal(sum(found.values()), outlines.surface.pixels(lungs))
    assert found["apex"][16, 12:20].all()
    assert found["diaphragm"][47, 44:52].all()
    assert found["mediastinum"][20:44, [23, 40]].all()
    assert found["chest wall"][20:44, [8, 55]].all()


@pytest.mark.parametrize("by", [-2, 0, 3])
def test_a_side_that_is_moved_is_found_with_its_sign(lungs, by):
    moved = lungs.copy()
    moved[16:48, 20:24] = moved[16:48, 40:44] = False
    moved[16:48, 20 : 24 + by] = moved[16:48, 40 - by : 44] = True
    found = outlines.offsets(moved, lungs)
    assert found["mediastinum"] == pytest.approx(PIXEL * by, rel=0.2)
    assert found["chest wall"] == 0
    for side in ("apex", "diaphragm"):
        assert abs(found[side]) <= abs(PIXEL * by) / 3  # corners alone


def test_masks_that_are_larger_all_around_reach_beyond_on_all_sides(lungs):
    larger = ndimage.binary_dilation(lungs)
    assert outlines.offsets(larger, lungs) == pytest.approx(dict.fromkeys(report_outlines.SIDES, PIXEL), rel=0.05)
    smaller = outlines.offsets(lungs, larger)
    assert all(value < 0 for value in smaller.values())


def test_an_empty_mask_falls_short_by_the_diagonal_and_an_empty_truth_is_refused(lungs):
    found = outlines.offsets(np.zeros_like(lungs), lungs)
    assert list(found.values()) == pytest.approx(4 * [-100 * np.sqrt(2)])
    with pytest.raises(ValueError, match="expected a mask of lungs, found an empty one"):
        outlines.offsets(lungs, np.zeros_like(lungs))
    dot = np.zeros_like(lungs)
    dot[32, 32] = True
    with pytest.raises(ValueError, match="found one whose outline has no apex and no mediastinum and no diaphragm"):
        outlines.offsets(lungs, dot)


def test_a_row_tells_masks_that_are_too_small_and_the_threshold_that_mends_them(tfds_dir, monkeypatch):
    plan = tiny.experiment()
    whole = prepared.load(plan.target, "lungs", Look(64), tfds_dir)

    def soften(images):
        """Return certainty that falls with the distance from lungs: above one half a pixel short of their outline."""
        masks = {image.tobytes(): mask for image, mask in zip(whole.images, whole.masks[..., 0] > 0, strict=True)}
        truth = [masks[np.asarray(image).tobytes()] for image in images]
        inside = [ndimage.distance_transform_edt(mask) for mask in truth]
        return np.stack([np.select([depth > 1.5, depth > 0], [0.9, 0.31], 0.1) for depth in inside])[..., None]

    model = SimpleNamespace(experiment=plan, soften=soften, made={"commit": "c"})
    monkeypatch.setattr(inference, "restore", lambda path: model)
    monkeypatch.setattr(outlines.datasets.prepared, "load", lambda *args, **rest: whole)
    (row,) = outlines.measure("short", Path("x"), tfds_dir, None)
    assert (row["model"], row["tested_on"], row["seed"]) == ("short", plan.target, plan.seed)
    assert row["trained"] == {"commit": "c"}
    assert all(row[side]["mean"] < 0 for side in report_outlines.SIDES)
    assert row["area"]["mean"] < 100
    assert 0.1 < row["threshold"] < 0.31
    assert row["jaccard"]["mean"] < row["jaccard_at_threshold"]["mean"] == 100
    table = report_outlines.markdown([row, row | {"seed": 1, "threshold": row["threshold"] + 0.1}]).splitlines()
    assert table[2].startswith(f"| {plan.target} | short | 0 % | 0, 1 | ")
    assert table[2].endswith(f" | {row['threshold'] + 0.05:.2f} | 100.00 ± 0.00 |")
    assert report_outlines.markdown([]) == report_outlines.NOTHING


def test_other_organs_and_images_without_masks_are_refused(tfds_dir, monkeypatch):
    model = SimpleNamespace(experiment=tiny.experiment(task="heart"))
    monkeypatch.setattr(inference, "restore", lambda path: model)
    with pytest.raises(ValueError, match="x draws heart: expected a model of lungs"):
        outlines.measure("m", Path("x"), tfds_dir, None)
    model.experiment = tiny.experiment()
    data = outlines.datasets.load(model.experiment, tfds_dir, None)
    monkeypatch.setattr(outlines.datasets, "load", lambda *_: data._replace(target=data.target.with_other_masks(None)))
    with pytest.raises(ValueError, match="expected masks of phantom/b's images, found none"):
        outlines.measure("m", Path("x"), tfds_dir, None)
