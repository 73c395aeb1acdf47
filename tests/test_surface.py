"""Surface distances against other implementations, known shapes and their own definition."""

import inspect

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import distance
from skimage.metrics import hausdorff_distance

from cxr_jax import surface

RNG = np.random.default_rng(0)
ANISOTROPIC = (0.7, 1.9)
DIAGONAL = np.hypot(8 * 0.7, 12 * 1.9)  # of an image of 8x12 pixels


def blob(shape: tuple[int, int], smoothness: float) -> np.ndarray:
    """Return a random mask with several parts and holes, cut by the border of the image."""
    return ndimage.gaussian_filter(RNG.normal(size=shape), smoothness) > 0


def square(row: int, column: int, side: int = 5, size: int = 16) -> np.ndarray:
    mask = np.zeros((size, size), bool)
    mask[row : row + side, column : column + side] = True
    return mask


def contour(mask: np.ndarray) -> np.ndarray:
    """Return surface pixels by looking at each neighbour in turn."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def all_pairs(one: np.ndarray, other: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Return the directed distances from every pair of surface pixels."""
    pairs = distance.cdist(np.argwhere(contour(one)) * spacing, np.argwhere(contour(other)) * spacing)
    return pairs.min(axis=1), pairs.min(axis=0)


BLOBS = [
    (blob(shape, smoothness), blob(shape, smoothness))
    for shape in [(24, 24), (17, 31), (40, 9)]
    for smoothness in (0.6, 2.0, 4.0)
]


@pytest.mark.parametrize(("one", "other"), BLOBS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0), ANISOTROPIC])
def test_blobs_match_all_pairs_of_surface_pixels(one, other, spacing):
    forth, back = all_pairs(one, other, spacing)
    expected = max(np.percentile(forth, 95), np.percentile(back, 95))
    assert surface.hd95(one, other, spacing) == pytest.approx(expected, rel=1e-12)
    expected = (forth.sum() + back.sum()) / (len(forth) + len(back))
    assert surface.assd(one, other, spacing) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("one", "other"), BLOBS)
def test_the_last_percentile_is_the_hausdorff_distance(one, other, monkeypatch):
    monkeypatch.setattr(surface, "PERCENTILE", 100.0)
    expected = hausdorff_distance(contour(one), contour(other))
    assert surface.hd95(one, other, (1.0, 1.0)) == pytest.approx(expected, rel=1e-12)
    points = [np.argwhere(contour(mask)) * ANISOTROPIC for mask in (one, other)]
    expected = max(distance.directed_hausdorff(*points)[0], distance.directed_hausdorff(*points[::-1])[0])
    assert surface.hd95(one, other, ANISOTROPIC) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("one", "other"), BLOBS[:3])
def test_symmetry_identity_and_scale(one, other):
    for distance_of in (surface.hd95, surface.assd):
        value = distance_of(one, other, ANISOTROPIC)
        assert value == pytest.approx(distance_of(other, one, ANISOTROPIC), rel=1e-12)
        assert value > distance_of(one, one, ANISOTROPIC) == 0
        assert distance_of(one, other, np.multiply(ANISOTROPIC, 3)) == pytest.approx(3 * value, rel=1e-12)
        turned = distance_of(one.T, other.T, ANISOTROPIC[::-1])
        assert turned == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("shift", [1, 2, 3, 4, 5, 7, 9])
def test_a_filled_square_and_its_shift(shift):
    """A whole side of the square, 5 of its 16 surface pixels, is `shift` away from the other's parallel side."""
    one, other = square(5, 1), square(5, 1 + shift)
    assert surface.hd95(one, other, (1.0, 1.0)) == pytest.approx(shift)
    assert surface.hd95(one.T, other.T, (0.5, 3.0)) == pytest.approx(0.5 * shift)


def test_average_of_a_square_and_its_shift_by_hand():
    """Of 16 surface pixels the 5 of the far side and the 3 inner ones of the near side are 1 away, others 0."""
    assert surface.assd(square(5, 5), square(5, 6), (1.0, 1.0)) == pytest.approx(8 / 16)
    assert surface.assd(square(5, 5), square(5, 6), (1.0, 0.25)) == pytest.approx(0.25 * 8 / 16)


def test_percentiles_are_taken_in_each_direction_before_the_maximum():
    """A speck 40 away is one pixel of 20: more than 5 % of its mask, less than 5 % of both masks' 39."""
    one, other = np.zeros((2, 9, 60), bool)
    one[4, :19] = other[4, :19] = other[4, 58] = True
    assert surface.hd95(one, other, (1.0, 1.0)) == pytest.approx(0.05 * 40)  # at rank 18.05, between 0 and 40
    assert surface.assd(one, other, (1.0, 1.0)) == pytest.approx(40 / 39)


def test_single_pixels():
    one, other = np.zeros((2, 8, 12), bool)
    one[0, 0], other[3, 4] = True, True
    expected = np.hypot(3 * 0.7, 4 * 1.9)
    assert surface.hd95(one, other, ANISOTROPIC) == pytest.approx(expected)
    assert surface.assd(one, other, ANISOTROPIC) == pytest.approx(expected)


def test_masks_have_surface_at_the_border_of_the_image():
    full, inner = np.ones((8, 8), bool), square(1, 1, side=6, size=8)
    assert surface.hd95(full, inner, (1.0, 1.0)) == pytest.approx(np.percentile([1] * 24 + [np.sqrt(2)] * 4, 95))
    assert surface.assd(full, full, (1.0, 1.0)) == 0


def test_a_hole_has_surface():
    ring = square(2, 2, side=9)
    ring[6, 6] = False
    assert surface.assd(square(2, 2, side=9), ring, (1.0, 1.0)) > 0


def test_empty_masks():
    empty, some = np.zeros((2, 8, 12), bool)
    some[3, 4] = True
    for distance_of in (surface.hd95, surface.assd):
        assert distance_of(empty, empty, ANISOTROPIC) == 0
        assert distance_of(empty, some, ANISOTROPIC) == pytest.approx(DIAGONAL)
        assert distance_of(some, empty, ANISOTROPIC) == pytest.approx(DIAGONAL)


def test_no_found_mask_is_worse_than_a_missed_one():
    corner, opposite = np.zeros((2, 8, 12), bool)
    corner[0, 0], opposite[-1, -1] = True, True
    assert surface.hd95(corner, opposite, ANISOTROPIC) < DIAGONAL


def test_a_batch_is_its_pairs():
    predicted, truth = RNG.random((2, 5, 8, 12, 1)) > 0.7
    predicted[1], truth[1], predicted[2] = False, False, False
    each = RNG.uniform(0.2, 2.0, (5, 2))
    for spacing in (ANISOTROPIC, np.array(ANISOTROPIC), each):
        scores = surface.surface_distances(predicted, truth, spacing)
        assert list(scores) == ["hd95", "assd"]
        sizes = np.broadcast_to(spacing, (5, 2))
        pairs = list(zip(predicted[..., 0], truth[..., 0], sizes, strict=True))
        np.testing.assert_array_equal(scores["hd95"], [surface.hd95(*pair) for pair in pairs])
        np.testing.assert_array_equal(scores["assd"], [surface.assd(*pair) for pair in pairs])


def test_arguments_stay_as_they_are():
    one, other = BLOBS[0]
    copies = one.copy(), other.copy()
    surface.assd(one, other, (1.0, 1.0))
    np.testing.assert_array_equal((one, other), copies)


MASKS = np.zeros((2, 8, 12, 1), bool)


@pytest.mark.parametrize(
    ("predicted", "truth", "spacing", "message"),
    [
        (MASKS.astype(np.uint8), MASKS, (1, 1), r"predicted must be .*\(b h w 1\) of bool.*\(2, 8, 12, 1\) uint8"),
        (MASKS, MASKS.astype(float), (1, 1), "truth must be .*float64"),
        (MASKS, MASKS[..., 0], (1, 1), r"truth must be .*found \(2, 8, 12\) bool"),
        (MASKS, MASKS.tolist(), (1, 1), "truth must be .*found list"),
        (MASKS, np.zeros((2, 8, 12, 2), bool), (1, 1), r"truth must be .*\(2, 8, 12, 2\)"),
        (MASKS[:0], MASKS[:0], (1, 1), "at least one pixel"),
        (MASKS, MASKS[:, :4], (1, 1), r"one shape, found \(2, 8, 12, 1\) and \(2, 4, 12, 1\)"),
        (MASKS, MASKS, 1.0, r"spacing must be \(row, column\) or an array \(2, 2\), found shape \(\)"),
        (MASKS, MASKS, np.ones((3, 2)), r"spacing must be .*found shape \(3, 2\)"),
        (MASKS, MASKS, (1.0, 0.0), "positive"),
        (MASKS, MASKS, (1.0, np.nan), "positive"),
    ],
)
def test_wrong_arguments_are_named(predicted, truth, spacing, message):
    with pytest.raises(ValueError, match=message):  # without the tests' own check of the annotations
        inspect.unwrap(surface.surface_distances)(predicted, truth, spacing)


def test_wrong_arguments_of_one_pair_are_named():
    for distance_of in map(inspect.unwrap, (surface.hd95, surface.assd)):
        with pytest.raises(ValueError, match=r"predicted must be .*\(h w\) of bool"):
            distance_of(MASKS, MASKS, (1, 1))
        with pytest.raises(ValueError, match="one shape"):
            distance_of(MASKS[0, ..., 0], MASKS[0, :4, :, 0], (1, 1))
        with pytest.raises(ValueError, match="spacing"):
            distance_of(MASKS[0, ..., 0], MASKS[0, ..., 0], (1, 1, 1))


@pytest.mark.parametrize(("one", "other"), BLOBS)
@pytest.mark.parametrize("spacing", [(1.0, 1.0), ANISOTROPIC])
def test_signed_distances_are_those_of_the_truths_surface_with_the_side_they_lie_on(one, other, spacing):
    found = surface.signed_distances(one, other, spacing)
    outline = contour(other)
    np.testing.assert_array_equal(np.isnan(found), ~outline)
    np.testing.assert_allclose(np.abs(found[outline]), all_pairs(one, other, spacing)[1], rtol=1e-12)
    np.testing.assert_array_equal(found[outline] < 0, ~one[outline])


def test_signed_distances_of_empty_masks():
    mask, empty = np.ones((8, 12), bool), np.zeros((8, 12), bool)
    found = surface.signed_distances(empty, mask, ANISOTROPIC)
    np.testing.assert_allclose(found[contour(mask)], -DIAGONAL)
    assert np.isnan(surface.signed_distances(mask, empty, ANISOTROPIC)).all()
