"""Outlines of lungs beside the truth's: sides, offsets with their sign, thresholds, rows and their table."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from cxr_jax import inference, outlines
from cxr_jax.data import prepared, splits
from cxr_jax.data.look import Look
from cxr_jax.report import outlines as report_outlines
from tests import tiny
from tests.kept_rows import kept

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


def test_the_middle_is_between_lungs_of_unequal_size(lungs):
    lungs[16:48, 32:40] = True  # one lung of 24 columns, the other of 16
    lungs[2, 2] = True  # a stray pixel
    found = outlines.sides(lungs)
    assert found["mediastinum"][20:44, [23, 32]].all()
    lungs[2, 2] = False
    lone = lungs & (np.arange(64) < 24)
    assert outlines.sides(lone)["mediastinum"][20:44, 23].all()


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
    assert smaller == pytest.approx(dict.fromkeys(report_outlines.SIDES, -PIXEL), rel=0.05)


def test_an_empty_mask_falls_short_by_the_diagonal_and_an_empty_truth_is_refused(lungs):
    found = outlines.offsets(np.zeros_like(lungs), lungs)
    assert list(found.values()) == pytest.approx(4 * [-100 * np.sqrt(2)])
    with pytest.raises(ValueError, match="expected a mask of lungs, found an empty one"):
        outlines.offsets(lungs, np.zeros_like(lungs))
    dot = np.zeros_like(lungs)
    dot[32, 32] = True
    with pytest.raises(ValueError, match="found one whose outline has no apex and no mediastinum and no diaphragm"):
        outlines.offsets(lungs, dot)


def short_by_a_pixel(whole, validation, rim):
    """Return a model's `soften`, sure of lungs but for a rim of one pixel, of which it is `rim`; outside 0.1.

    Of the images of those ids it is surer: of the rim 0.41, outside 0.33.
    """
    of_image = {image.tobytes(): place for place, image in enumerate(whole.images)}

    def soften(images):
        maps = []
        for place in (of_image[np.asarray(image).tobytes()] for image in images):
            depth = ndimage.distance_transform_edt(whole.masks[place, ..., 0])
            levels = (0.41, 0.33) if whole.ids[place] in validation else (rim, 0.1)
            maps.append(np.select([depth > 1.5, depth > 0], [0.9, levels[0]], levels[1]))
        return np.stack(maps)[..., None]

    return soften


@pytest.mark.parametrize(("rim", "mended"), [(0.31, False), (0.45, True)])
@pytest.mark.parametrize("target", ["phantom/b", None])
def test_a_row_tells_masks_that_are_too_small_and_what_the_validation_images_threshold_mends(
    tfds_dir, monkeypatch, rim, mended, target
):
    plan = replace(tiny.experiment(), target=target)
    whole = prepared.load(target or plan.source, "lungs", Look(64), tfds_dir)
    whole = replace(whole, annotated=np.arange(len(whole)) >= 5)  # the first five have no masks
    data = SimpleNamespace(
        **({"target": whole} if target else {"source": whole}),
        **{"target_split" if target else "source_split": splits.Split(*np.split(np.arange(30), 3))},
    )
    monkeypatch.setattr(outlines.datasets, "load", lambda *_: data)
    split = data.target_split if target else data.source_split
    soften = short_by_a_pixel(whole, [whole.ids[i] for i in split.validation], rim)
    model = SimpleNamespace(experiment=plan, soften=soften, made={"commit": "c"})
    monkeypatch.setattr(inference, "restore", lambda path: model)
    (row,) = outlines.measure("short", Path("x"), tfds_dir, None)
    assert (row["model"], row["tested_on"], row["seed"]) == ("short", whole.name, plan.seed)
    assert row["trained"] == {"commit": "c"}
    assert list(row["jaccard"]["per_image"]) == [whole.ids[i] for i in split.test if i >= 5]
    assert all(row[side]["mean"] < 0 for side in report_outlines.SIDES)
    assert row["area"]["mean"] < 100
    assert row["threshold"] == 0.4
    assert (row["jaccard_at_threshold"]["mean"] == 100) == mended
    assert row["jaccard"]["mean"] < 100


def test_the_command_keeps_rows_and_the_table_tells_them_in_the_order_of_labels(tmp_path, monkeypatch):
    of_image = {name: {"mean": 90.0, "std": 1.0} for name in (*report_outlines.SIDES, "area", "jaccard")}
    row = {"model": "m", "tested_on": "b", "source": "a", "image_size": 64, "seed": 0, "label_frac": 0.1}
    row |= {"config": {"fold": 0, "segmenter": {"name": "unet", "width": 8}}, "threshold": 0.3, **of_image}
    row |= {"jaccard_at_threshold": {"mean": 95.0, "std": 2.0}}
    rows = [row, row | {"label_frac": 0.025}, row | {"seed": 1, "threshold": 0.4}, row | {"threshold": 0.35}]
    found = kept(outlines, report_outlines.FILE, rows, tmp_path, monkeypatch)
    assert sorted(found, key=str) == sorted(rows[1:], key=str)
    first, _, *lines = report_outlines.markdown(found).splitlines()
    assert first.startswith("| test images of | model | labels, % | seeds | apex, % of side |")
    assert [line.split(" | ")[:4] for line in lines] == [["| b", "m", "2.5", "0"], ["| b", "m", "10", "0, 1"]]
    assert lines[1].endswith(" | 0.35, 0.40 | 95.00 ± 2.00 |")
    wide = row | {"config": row["config"] | {"segmenter": {"name": "unet", "width": 16}}}
    assert "| unet, width 16 |" in report_outlines.markdown([row, wide])
    assert report_outlines.markdown([]) == report_outlines.NOTHING


@pytest.mark.parametrize("wrong", ["m", "=folder", "m="])
def test_a_model_without_a_name_or_a_folder_is_refused_before_any_is_measured(monkeypatch, capsys, wrong):
    monkeypatch.setattr("sys.argv", ["outlines", "--model=m=folder", f"--model={wrong}"])
    monkeypatch.setattr(outlines, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(SystemExit):
        outlines.main()
    assert f"expected --model NAME=WORKDIR, found {wrong!r}" in capsys.readouterr().err


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
