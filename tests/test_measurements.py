"""Areas, widths and the cardiothoracic ratio of shapes whose measures are known."""

import numpy as np
import pytest

from cxr_jax.measurements import measure, width


def box(top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros((40, 60), bool)
    mask[top:bottom, left:right] = True
    return mask


LUNGS = box(5, 35, 10, 22) | box(5, 30, 35, 50)
HEART = box(20, 30, 22, 38)


def test_areas_and_widths_in_pixels_and_in_mm():
    found = measure({"lungs": LUNGS, "heart": HEART, "clavicles": box(2, 4, 20, 30)}, (0.5, 0.2))
    assert found == pytest.approx(
        {
            "lungs_area_px": 30 * 12 + 25 * 15,
            "lungs_area_mm2": 73.5,
            "heart_area_px": 160,
            "heart_area_mm2": 16.0,
            "clavicles_area_px": 20,
            "clavicles_area_mm2": 2.0,
            "lungs_width_px": 40,
            "lungs_width_mm": 8.0,
            "heart_width_px": 16,
            "heart_width_mm": 3.2,
            "cardiothoracic_ratio": 0.4,
        }
    )


def test_without_the_size_of_a_pixel_there_are_pixels_and_the_ratio():
    found = measure({"lungs": LUNGS, "heart": HEART}, None)
    assert not [name for name in found if name.endswith(("mm", "mm2"))]
    assert found["cardiothoracic_ratio"] == pytest.approx(0.4)


@pytest.mark.parametrize("lung", [box(5, 35, 10, 22), box(5, 30, 35, 50), box(5, 30, 28, 50)])
def test_a_lung_alone_has_no_chest_width_and_no_ratio(lung):
    found = measure({"lungs": lung, "heart": HEART}, (1.0, 1.0))
    assert found["lungs_area_px"] == lung.sum()
    assert found["heart_width_mm"] == 16
    assert not {"lungs_width_px", "lungs_width_mm", "cardiothoracic_ratio"} & set(found)


@pytest.mark.parametrize("heart", [None, np.zeros((40, 140), bool)], ids=["missing", "blank"])
@pytest.mark.parametrize(
    ("lungs", "wide"),
    [
        (LUNGS, 40),
        (LUNGS | box(0, 2, 55, 60), 50),
        (box(5, 35, 10, 22), None),
        (box(5, 35, 10, 22) | box(5, 10, 35, 38), None),  # the other is too small to be a lung
        (box(5, 35, 10, 22) | box(5, 8, 22, 35) | box(5, 30, 35, 50), None),  # joined, and on one side of the middle
    ],
    ids=["two", "two and a speck", "one", "one and a speck", "joined"],
)
def test_without_a_heart_two_lungs_are_told_wherever_they_are(lungs, wide, heart):
    padded = {"lungs": np.pad(lungs, ((0, 0), (0, 80)))} | ({} if heart is None else {"heart": heart})
    assert measure(padded, None).get("lungs_width_px") == wide


@pytest.mark.parametrize(("shift", "wide"), [(0, 40), (80, None)])
def test_without_a_heart_joined_lungs_are_told_by_the_middle_of_the_image(shift, wide):
    lungs = np.pad(LUNGS | box(5, 8, 22, 35), ((0, 0), (0, shift)))
    assert measure({"lungs": lungs}, None).get("lungs_width_px") == wide


def test_blank_masks_measure_nothing():
    blank = np.zeros((4, 4), bool)
    assert measure({"lungs": blank, "heart": blank}, (1.0, 1.0)) == {}
    assert set(measure({"lungs": LUNGS, "heart": np.zeros_like(LUNGS)}, None)) == {"lungs_area_px", "lungs_width_px"}
    assert width(blank) == 0
