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


def test_blank_masks_measure_nothing():
    blank = np.zeros((4, 4), bool)
    assert measure({"lungs": blank, "heart": blank}, (1.0, 1.0)) == {}
    assert set(measure({"lungs": LUNGS, "heart": np.zeros_like(LUNGS)}, None)) == {"lungs_area_px", "lungs_width_px"}
    assert width(blank) == 0
