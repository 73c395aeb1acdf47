"""Tests of the phantoms and of their TFDS builder."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfds_builders.phantom.anatomy import STRUCTURES
from tfds_builders.phantom.phantom_dataset_builder import PhantomConfig
from tfds_builders.phantom.render import phantom

# Share of a full frame each structure may cover.
AREAS = {
    "left_lung": (0.04, 0.2),
    "right_lung": (0.05, 0.22),
    "left_clavicle": (0.002, 0.015),
    "right_clavicle": (0.002, 0.015),
    "heart": (0.02, 0.12),
}


@pytest.fixture(scope="module")
def scans() -> dict[str, list[dict[str, np.ndarray]]]:
    return {name: [phantom(name, 128, 0, index) for index in range(24)] for name in "ab"}


def jaccard(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


def test_same_numbers_give_the_same_phantom():
    first, again = phantom("b", 64, 3, 5), phantom("b", 64, 3, 5)
    assert all(np.array_equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("other", [("a", 64, 3, 5), ("b", 64, 4, 5), ("b", 64, 3, 6)])
def test_any_other_number_gives_another_patient(other: tuple):
    assert not np.array_equal(phantom("b", 64, 3, 5)["heart"], phantom(*other)["heart"])


@pytest.mark.parametrize("name", ["a", "b"])
def test_masks_are_binary_disjoint_and_of_plausible_size(scans: dict, name: str):
    for scan in scans[name]:
        for structure, (low, high) in AREAS.items():
            assert set(np.unique(scan[structure])) == {0, 1}
            assert low < scan[structure].mean() < high
        assert not (scan["left_lung"] & scan["right_lung"]).any()
        assert not ((scan["left_lung"] | scan["right_lung"]) & scan["heart"]).any()
        assert not (scan["left_clavicle"] & scan["right_clavicle"]).any()
        assert (scan["left_clavicle"] & scan["left_lung"]).any()
        assert (scan["right_clavicle"] & scan["right_lung"]).any()


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_patients_left_is_on_the_images_right(scans: dict, name: str):
    for scan in scans[name]:
        for organ in ("lung", "clavicle"):
            left, right = (np.nonzero(scan[f"{side}_{organ}"])[1].mean() for side in ("left", "right"))
            assert left > right


@pytest.mark.parametrize("name", ["a", "b"])
def test_masks_are_the_same_anatomy_at_any_size(name: str):
    for index in range(4):
        small, large = phantom(name, 128, 0, index), phantom(name, 256, 0, index)
        for structure in ("left_lung", "right_lung", "heart"):
            halved = large[structure].reshape(128, 2, 128, 2).mean((1, 3)) > 0.5
            assert jaccard(halved, small[structure] > 0) > 0.95
        grey = large["image"].reshape(128, 2, 128, 2).mean((1, 3))
        assert np.corrcoef(grey.ravel(), small["image"].ravel())[0, 1] > 0.98


def test_masks_follow_the_edges_that_the_image_shows(scans: dict):
    for scan in scans["a"]:
        lungs = (scan["left_lung"] | scan["right_lung"]) > 0
        hearts = scan["heart"] > 0
        assert scan["image"][lungs].mean() + 20 < scan["image"][hearts].mean()


def test_only_b_has_a_black_border(scans: dict):
    def border(image: np.ndarray) -> np.ndarray:
        return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])

    for a, b in zip(scans["a"], scans["b"], strict=True):
        assert (border(a["image"]) == 0).mean() < 0.2
        assert (border(b["image"]) == 0).mean() > 0.8


def test_lungs_are_bright_grey_in_a_and_nearly_black_in_b(scans: dict):
    def lungs_and_heart(scan: dict) -> tuple[float, float]:
        lungs = (scan["left_lung"] | scan["right_lung"]) > 0
        return scan["image"][lungs].mean(), scan["image"][scan["heart"] > 0].mean()

    a, b = (np.mean([lungs_and_heart(scan) for scan in scans[name]], axis=0) for name in "ab")
    assert a[0] > 140
    assert b[0] < 70
    assert (b[1] - b[0]) > 1.5 * (a[1] - a[0])


def test_prepares_and_reads_back_without_tensorflow(tmp_path: Path):
    config = PhantomConfig(scanner="b", size=64, count=5, seed=7)
    builder = tfds.builder("phantom", config=config, data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    rows = {row["id"].decode(): row for row in builder.as_data_source(split="train")}
    assert sorted(rows) == [f"phantom_b_{index:04d}" for index in range(5)]
    expected = phantom("b", 64, 7, 3)
    for key in ("image", *STRUCTURES):
        assert np.array_equal(rows["phantom_b_0003"][key][..., 0], expected[key])


def test_named_configs_make_five_folds_of_32(tmp_path: Path):
    for name, size in {"a": 128, "b": 128, "a_256": 256, "b_256": 256}.items():
        builder = tfds.builder(f"phantom/{name}", data_dir=tmp_path)
        assert builder.builder_config.count == 160
        assert builder.info.features["heart"].shape == (size, size, 1)
    assert tfds.builder("phantom", data_dir=tmp_path).builder_config.name == "a"


@pytest.mark.parametrize("wrong", [{"scanner": "c"}, {"size": 8}, {"count": 0}, {"seed": -1}])
def test_a_wrong_config_is_refused(wrong: dict):
    with pytest.raises(ValueError, match="expected"):
        PhantomConfig(**wrong)
