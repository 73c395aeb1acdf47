"""What methods reach without labels, and what is told of their masks without any, over seeds."""

from cxr_jax.report import without_labels
from tests.cells import cell


def test_what_is_told_without_labels_is_held_against_the_scores():
    def seed(sane: int) -> dict:
        told = {f"m{index}": index < sane for index in range(4)}
        scores = [90.0 if index < sane else 60.0 for index in range(4)]
        return cell(seed=sane, scores=scores, plausible={"count": sane, "images": 4, "per_image": told})

    seeds = [seed(sane) for sane in range(5)]
    older = " - | - | - |"  # than the Jaccard to expect
    assert without_labels.signals(seeds).endswith("| 10 of 20 | 90.00 | 60.00 | +1.00 |" + older)
    assert without_labels.signals(seeds[:4]).endswith("| 6 of 16 | 90.00 | 60.00 | - |" + older)  # too few
    assert without_labels.signals(seeds[4:] * 5).endswith("| 20 of 20 | 90.00 | - | - |" + older)


def test_tidied_masks_have_a_mean_where_all_seeds_have_it():
    tidied = [cell(seed=seed, jaccard_tidied={"mean": 91.0 + seed, "std": 1.5, "per_image": {}}) for seed in range(2)]
    assert without_labels.scores(tidied).endswith("| 2 | 90.00 | 90.00 | 90.00 | 2.00 | 91.50 | 91.00 | 1.50 |")
    assert without_labels.scores([*tidied, cell(seed=2)]).endswith("| 3 | 90.00 | 90.00 | 90.00 | 2.00 | - | - | - |")


def test_what_is_expected_of_an_image_is_held_against_its_score():
    def seed(number: int, expected: list[float]) -> dict:
        told = {"mean": 88.0 + number, "per_image": {f"m{index}": value for index, value in enumerate(expected)}}
        return cell(seed=number, scores=[60.0, 90.0, 95.0, 94.0, 92.0], expected_jaccard=told)

    right, wrong = seed(0, [70.0, 91.0, 96.0, 95.0, 93.0]), seed(1, [96.0, 93.0, 70.0, 91.0, 92.0])
    assert without_labels.signals([right]).endswith("| 88.00 | +1.00 | 1 of 1 |")
    assert without_labels.signals([right, wrong]).endswith("| 88.50 | +0.00 | 1 of 2 |")
    older, blind = cell(seed=2), seed(3, [90.0] * 5)
    assert without_labels.signals([right, older]).endswith("| - | - | - |")
    assert without_labels.signals([blind]).endswith("| 91.00 | - | 1 of 1 |")
    assert without_labels.signals([right, blind]).endswith("| 89.50 | +1.00 | 2 of 2 |")
    unlabelled = right | {"jaccard": None, "dice": None}
    assert without_labels.signals([unlabelled]).endswith("| 88.00 | - | - |")


def test_fine_tuning_without_labels_is_called_what_it_is():
    assert "| unet | M_A as it is | 1 |" in without_labels.scores([cell("fine_tuning")])
    assert "| unet | transfer, munit | 1 |" in without_labels.scores([cell()])
    assert without_labels.scores([cell(label_frac=0.5)]) == without_labels.NOTHING


def test_scores_are_told_apart_by_the_finding_that_an_images_name_tells():
    names = ("MCUCXR_0001_0", "MCUCXR_0002_0", "MCUCXR_0103_1")
    scores = {"mean": 80.0, "std": 8.0, "per_image": dict(zip(names, (90.0, 80.0, 70.0), strict=True))}
    seeds = [cell(seed=0, jaccard=scores), cell(seed=1, jaccard={**scores, "per_image": {"MCUCXR_0103_1": 60.0}})]
    told = without_labels.by_finding(seeds)
    assert told.endswith("| tuberculosis | 2 | 85.00 ± 5.00 | - | 2 | 65.00 ± 5.00 | - |")
    told = without_labels.by_finding([seed | {"jaccard_tidied": scores} for seed in seeds])
    assert told.endswith("| 2 | 85.00 ± 5.00 | 85.00 ± 5.00 | 2 | 65.00 ± 5.00 | 70.00 ± 0.00 |")
    told = without_labels.by_finding([seeds[0] | {"jaccard_tidied": scores}, seeds[1]])
    assert told.endswith("| 2 | 85.00 ± 5.00 | - | 2 | 65.00 ± 5.00 | - |")
    nodules = {**scores, "per_image": {"JPCLN001": 94.0}}
    told = without_labels.by_finding([cell(target="jsrt", source="montgomery", jaccard=nodules)])
    assert told.endswith("| nodule | 0 | - | - | 1 | 94.00 ± 0.00 | - |")
    others = [cell(jaccard=None, dice=None), cell(target="phantom/b")]
    assert without_labels.by_finding(others) == without_labels.NOTHING
    assert without_labels.by_finding([*seeds, *others]) == without_labels.by_finding(seeds)
