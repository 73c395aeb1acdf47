"""Images made strange: what changes, what does not, and what a model's masks of them are worth."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cxr_jax import inference, strange
from cxr_jax.data import prepared
from cxr_jax.data.look import Look
from cxr_jax.report import strange as report_strange
from tests import tiny
from tests.kept_rows import kept


@pytest.fixture(scope="module")
def lungs(tfds_dir):
    return prepared.load("phantom/a", "lungs", Look(64), tfds_dir)[np.arange(8)]


@pytest.mark.parametrize("kind", strange.DISEASES)
def test_disease_whitens_a_part_of_one_lung_and_leaves_masks_as_they_are(kind, lungs):
    sick = strange.made_strange(kind, lungs, lungs)
    np.testing.assert_array_equal(sick.masks, lungs.masks)
    change = sick.images.astype(int) - lungs.images
    assert change.min() >= -1  # rounding
    for changed, lung in zip(change[..., 0] > 20, lungs.masks[..., 0] > 0, strict=True):
        assert changed.any()
        assert lung[changed].mean() > 0.9
        assert changed.sum() < 0.6 * lung.sum()  # of one lung, not of both
    np.testing.assert_array_equal(strange.made_strange(kind, lungs, lungs).images, sick.images)


@pytest.mark.parametrize("kind", strange.FRAMES)
def test_a_frame_moves_images_and_masks_alike(kind, lungs):
    framed = strange.made_strange(kind, lungs.with_other_masks((lungs.images > 127).astype(np.uint8)), lungs)
    share = np.prod(strange.FRAMES[kind])
    assert framed.masks.sum() == pytest.approx((lungs.images > 127).sum() / share, rel=0.1)
    assert np.mean((framed.images > 127) == framed.masks) > 0.97


def test_a_model_has_a_row_for_each_kind(tfds_dir, monkeypatch):
    plan = tiny.experiment()
    model = SimpleNamespace(experiment=plan, translates=False, predict=lambda images: images < 220)
    monkeypatch.setattr(inference, "restore", lambda path: model)
    rows = strange.measure("bright", Path("x"), tfds_dir, None)
    assert [row["kind"] for row in rows] == list(strange.KINDS)
    assert {(row["model"], row["source"], row["seed"]) for row in rows} == {("bright", plan.source, plan.seed)}
    worst = {row["kind"]: row["jaccard"]["per_image"] for row in rows}
    assert worst["effusion"] != worst["as they are"]
    table = report_strange.markdown(rows + [row | {"seed": 1} for row in rows]).splitlines()
    assert table[0].startswith("| model | validation images of | seeds | as they are | effusion |")
    assert table[2].startswith(f"| bright | {plan.source} | 2 | {rows[0]['jaccard']['mean']:.2f} ± ")
    assert report_strange.markdown([]) == report_strange.NOTHING


OTHERS = [{"source": "other"}, {"image_size": 256}, {"config": {"task": "heart", "fold": 0}}]
OTHERS += [{"config": {"task": "lungs", "fold": 1}}]


@pytest.mark.parametrize("other", OTHERS, ids=["source", "size", "organ", "fold"])
def test_a_run_of_another_setting_leaves_rows_as_they_are(tmp_path, monkeypatch, other):
    row = {"model": "m", "seed": 0, "kind": "flat", "source": "one", "image_size": 128}
    row |= {"config": {"task": "lungs", "fold": 0}, "jaccard": {"mean": 90.0, "std": 1.0}}
    changed = [row, row | other, row | {"jaccard": {"mean": 80.0, "std": 1.0}}]
    rows = kept(strange, report_strange.FILE, changed, tmp_path, monkeypatch)
    assert sorted(rows, key=str) == sorted(changed[1:], key=str)
    lines = report_strange.markdown(rows).splitlines()[2:]
    assert len(set(lines)) == 2
    assert {line.split("|")[-2].strip() for line in lines} == {"90.00 ± 1.00", "80.00 ± 1.00"}
    assert {line.split("|")[-3].strip() for line in lines} == {"1"}


def test_a_source_without_lungs_and_a_model_that_translates_are_refused(tfds_dir, monkeypatch, lungs):
    model = SimpleNamespace(experiment=tiny.experiment(), translates=False)
    monkeypatch.setattr(inference, "restore", lambda path: model)
    load = prepared.load
    monkeypatch.setattr(prepared, "load", lambda *args, **rest: load(*args, **rest)[np.arange(8)])
    monkeypatch.setattr(
        strange.datasets, "load", lambda *_: SimpleNamespace(source=load("phantom/a", "lungs", Look(64), tfds_dir))
    )
    with pytest.raises(ValueError, match="expected masks of lungs for the images of phantom/a"):
        strange.measure("x", Path("x"), tfds_dir, None)
    model.experiment = tiny.experiment(negated=("phantom/a",))
    with pytest.raises(ValueError, match="x has learned from negatives of phantom/a"):
        strange.measure("x", Path("x"), tfds_dir, None)
    model.translates = True
    with pytest.raises(ValueError, match="expected a model that reads images as they are"):
        strange.measure("x", Path("x"), tfds_dir, None)
