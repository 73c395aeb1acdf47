"""Masks that can be an organ, and masks that cannot."""

import json

import numpy as np
import pytest

from cxr_jax.plausibility import Shape


def two_lungs(height: int = 20, *, shift: int = 0) -> np.ndarray:
    mask = np.zeros((1, 32, 32, 1), np.uint8)
    mask[:, 6 : 6 + height, 4 + shift : 12 + shift] = mask[:, 6 : 6 + height, 20 + shift : 28 + shift] = 1
    return mask


def test_a_shape_is_the_range_of_areas_and_centres_of_each_part():
    shape = Shape.of(np.concatenate([two_lungs(20), two_lungs(16), two_lungs(18, shift=2)]))
    np.testing.assert_allclose(shape.areas, np.array([[128, 128], [160, 160]]) / 1024)
    np.testing.assert_allclose(shape.centres[0], np.array([[13.5, 7.5], [13.5, 23.5]]) / 32)
    np.testing.assert_allclose(shape.centres[1], np.array([[15.5, 9.5], [15.5, 25.5]]) / 32)
    with pytest.raises(ValueError, match="expected masks of an organ, found blank ones"):
        Shape.of(np.zeros((2, 8, 8, 1), np.uint8))


def test_masks_in_another_number_of_parts_say_nothing_of_the_shape():
    usual = np.concatenate([two_lungs(20), two_lungs(16)])
    joined, crumbled = two_lungs(20), two_lungs(20)
    joined[0, 25, :] = 1  # both in one part,
    joined[0, 0, 0] = 1  # and a pixel, so that there are two
    crumbled[0, 0, 0] = 1
    blank = np.zeros_like(joined)
    expected = Shape.of(usual)
    for others in (joined, blank, crumbled):
        found = Shape.of(np.concatenate([usual, others]))
        np.testing.assert_array_equal(found.areas, expected.areas)
        np.testing.assert_array_equal(found.centres, expected.centres)


def test_plausible_masks_have_the_parts_areas_and_places_of_the_organ():
    shape = Shape.of(np.concatenate([two_lungs(20), two_lungs(16)]))
    crumbs, blob, one, blank = two_lungs(), two_lungs(), two_lungs(), np.zeros((1, 32, 32, 1), np.uint8)
    crumbs[:, 0, ::4] = 1
    blob[:, 28:, :20] = 1
    one[:, :, 14:] = 0
    cases = {
        "itself": (two_lungs(), True),
        "a smaller one": (two_lungs(9), True),
        "crumbs": (crumbs, True),
        "too small": (two_lungs(6), False),
        "a blob": (blob, False),
        "one lung": (one, False),
        "nothing": (blank, False),
        "everything": (1 - blank, False),
        "the background": (1 - two_lungs(), False),
        "upside down": (np.roll(two_lungs(), 11, axis=1), False),
    }
    for name, (mask, expected) in cases.items():
        assert shape.plausible(mask).tolist() == [expected], name


def test_a_shape_is_read_as_it_was_written():
    shape = Shape.of(np.concatenate([two_lungs(20), two_lungs(16)]))
    plain = json.loads(json.dumps(shape.plain()))
    again = Shape.parse(plain)
    np.testing.assert_array_equal(again.areas, shape.areas)
    np.testing.assert_array_equal(again.centres, shape.centres)
    assert again.plausible(two_lungs(18)).all()
    foreign = ([], {}, {"areas": [[1]], "centres": []}, plain | {"centres": plain["areas"]}, plain | {"areas": "many"})
    for other in foreign:
        with pytest.raises(ValueError, match=r"expected areas|could not convert"):
            Shape.parse(other)


def test_an_organ_in_one_part():
    heart = np.zeros((3, 32, 32, 1), bool)
    heart[:, 14:26, 12:22] = True
    shape = Shape.of(heart)
    heart[1, 14:26, 12:22] = False
    heart[2] = np.roll(heart[2], -12, axis=0)
    assert shape.plausible(heart).tolist() == [True, False, False]
