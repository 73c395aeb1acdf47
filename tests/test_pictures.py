"""Pictures as arrays."""

import numpy as np

from cxr_jax import pictures


def test_a_grid_ends_shorter_rows_in_black():
    row = np.full((3, 4, 5, 3), 200, np.uint8)
    grid = pictures.grid([row, row[:1]], gap=2)
    assert grid.shape == (2 * 6, 3 * 7, 3)
    assert (grid[:4, 14:19] == 200).all()
    assert (grid[6:10, :5] == 200).all()
    assert not grid[6:, 7:].any()


def test_outlines_show_truth_and_prediction():
    images = np.full((1, 8, 8, 1), 100, np.uint8)
    truth, predicted = np.zeros((2, 1, 8, 8, 1), np.uint8)
    truth[:, 1:5, 1:5], predicted[:, 4:8, 4:8] = 1, 1
    picture = pictures.outlined(images, predicted, truth)[0]
    assert tuple(picture[1, 1]) == pictures.TRUTH
    assert tuple(picture[4, 4]) == tuple(picture[7, 7]) == pictures.PREDICTION
    assert tuple(picture[2, 2]) == tuple(picture[0, 7]) == (100, 100, 100)
