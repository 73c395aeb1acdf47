"""How images are shown: trimmed, normalised, equalised."""

import numpy as np

from cxr_jax.data import look


def test_body_frame_drops_black_borders():
    image = np.full((20, 30), 3, np.uint8)
    image[4:15, 6:28] = 200
    assert look.body_frame(image) == (slice(4, 15), slice(6, 28))
    assert look.body_frame(np.zeros((4, 4), np.uint8)) == (slice(None), slice(None))


def test_normalise_stretches_to_the_full_range():
    image = np.array([[50.0, 90.0], [75.0, 150.0]])
    np.testing.assert_array_equal(look.normalise(image), [[0, 102], [64, 255]])
    assert not look.normalise(np.full((3, 3), 7.0)).any()


def test_equalised_tones_are_those_of_any_monotone_curve_of_the_image():
    image = np.random.default_rng(0).permutation(256).reshape(16, 16).astype(np.uint16)
    curved = 40_000 * (image / 255) ** 0.5
    np.testing.assert_array_equal(look.equalise(curved), look.equalise(image))
    np.testing.assert_array_equal(look.equalise(65_535 - curved), 255 - look.equalise(image))
    assert not look.equalise(np.full((4, 4), 7)).any()


def test_equal_pixels_share_the_mean_of_their_ranks():
    image = np.repeat([30, 31, 200], [8, 4, 4]).reshape(4, 4)  # mean ranks 4.5, 10.5 and 14.5
    np.testing.assert_array_equal(look.equalise(image).ravel(), np.repeat([0, 153, 255], [8, 4, 4]))
