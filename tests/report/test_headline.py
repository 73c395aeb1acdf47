"""The README's table: which rows of ours stand beside the paper's."""

from cxr_jax.report import cells, headline
from cxr_jax.report.published import TABLE2
from tests.cells import cell

GRID = [
    cell("fine_tuning", mean=92.0, protocol="augmented"),
    cell("transfer", mean=93.0, protocol="augmented"),
    cell("transfer", 0.5, mean=95.0, protocol="augmented"),
    cell("transfer", mean=60.0, protocol="augmented", seed=1),  # fewer cells
    cell("transfer", mean=61.0, protocol="paper", image_size=256),
    *(cell("transfer", share, mean=66.0, protocol="paper", backend="cyclegan") for share in (0.0, 0.5)),
    cell("transfer", mean=62.0, protocol="augmented", task="heart"),
    cell("self_training", 0.5, mean=95.5, protocol="best"),
]
PARTS = [
    *(cell("self_training", mean=mean, protocol="best", seed=seed) for seed, mean in enumerate((93.0, 94.0))),
    cell("self_training", mean=63.0, protocol="best", source="montgomery", target="jsrt"),
    cell("fine_tuning", mean=64.0, protocol="best"),
    cell("self_training", mean=65.0, protocol="best", image_size=64),
]


def test_ours_stand_beside_the_papers_by_share_of_labels():
    head, _, *lines = headline.markdown(GRID, PARTS).splitlines()
    assert len(lines) == len(TABLE2)
    for method in ("fine-tuning", "transfer"):
        assert f"| ours, the paper's protocol, 256 px, seed 0: {method} |" in head
        assert f"| ours, augmented, 128 px, seed 0: {method} |" in head
    assert head.endswith("| ours, best, 128 px: fine-tuning | ours, best, 128 px: self-training alone |")
    assert lines[0] == (
        "| 0 % | 0 | 88.20 ± 9.80 | 88.20 ± 9.80, transfer |  | 61.00 ± 2.00 | 92.00 ± 2.00 | 93.00 ± 2.00 "
        "| 64.00 (seed 0) | 93.50 (93.00 to 94.00; 2 seeds) |"
    )
    assert lines[6] == (
        "| 50 % | 41 | 92.15 ± 5.90 | 93.78 ± 5.42, fine-tuning |  |  |  | 95.00 ± 2.00 |  | 95.50 (seed 0) |"
    )
    assert lines[1] == "| 1.25 % |  | 88.83 ± 9.81 | 88.83 ± 9.81, transfer |  |  |  |  |  |  |"


def test_without_rows_it_says_how_to_add_some():
    assert headline.markdown([], PARTS) == cells.ROWS.nothing
