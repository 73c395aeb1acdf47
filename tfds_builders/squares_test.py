import numpy as np
import pytest
from skimage.transform import downscale_local_mean

from tfds_builders import squares


def test_shrinking_averages_areas():
    image = np.random.default_rng(0).uniform(0, 255, (24, 36)).astype(np.float32)
    np.testing.assert_allclose(squares.resize(image, (8, 6)), downscale_local_mean(image, (3, 6)), rtol=1e-5)
    assert squares.square_radiograph(image, 12).shape == (12, 12, 1)


def test_enlarging_keeps_range_and_mean():
    image = squares.square_radiograph(np.float32([[0, 255], [255, 0]]), 8)
    assert (image.min(), image.max()) == (0, 255)
    assert abs(float(image.mean()) - 127.5) < 1


def test_a_mask_pixel_is_kept_where_half_of_it_was():
    mask = np.zeros((4, 4), bool)
    mask[0, :2] = True  # half of the first pixel
    mask[2, 2] = True  # a quarter of the last
    np.testing.assert_array_equal(squares.square_mask(mask, 2)[..., 0], [[1, 0], [0, 0]])


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.int16, np.float64])
def test_a_stored_square_has_its_brightest_pixel_at_255_whatever_the_depth(depth):
    image = np.linspace(0, 100, 64 * 80).reshape(64, 80).astype(depth)
    square = squares.stored_square(np.kron(image, np.ones((8, 8), depth)), 32)
    assert (square.shape, square.dtype, square.max()) == ((32, 32, 1), np.uint8, 255)


def test_what_lies_below_0_is_black_and_does_not_overflow():
    image = np.array([[-30000, 32000], [0, 2000]], np.int16)
    np.testing.assert_array_equal(squares.stored_square(image, 2)[..., 0], [[0, 255], [123, 132]])
    np.testing.assert_array_equal(squares.stored_square(np.zeros((4, 4)), 2), np.zeros((2, 2, 1)))


@pytest.mark.parametrize(
    ("shape", "level", "fault"),
    [
        ((32, 40), 1, ""),
        ((32, 40), 0, "expected a radiograph, found 40x32 pixels of 0 to 0"),
        ((31, 40), 1, "expected a radiograph, found 40x31 pixels of 0 to 1"),
        ((0, 40), 1, "expected a radiograph, found 40x0 pixels"),
    ],
)
def test_what_cannot_be_a_radiograph_is_told(shape, level, fault):
    image = np.zeros(shape, np.uint8)
    image[:4] = level
    assert squares.looks_blank(image) == fault


def test_a_spot_that_makes_the_rest_look_black_is_told():
    image = np.random.default_rng(0).uniform(0, 3000, (200, 240)).astype(np.float32)
    assert squares.looks_blank(image) == ""
    image[:10, :20] = 65535
    assert squares.looks_blank(image).startswith(
        "expected a radiograph, found 100 % of it darker than 5 % of its bright"
    )
    assert "brightest pixel, 65535: cap what is that bright" in squares.looks_blank(image)
    assert squares.looks_blank(np.minimum(image, 3000)) == ""
