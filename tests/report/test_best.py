"""The ablation of configs/best.py: its rows, over seeds and image by image."""

import json

import pytest

from cxr_jax.report import best, cells
from cxr_jax.report.rows import RowsError
from tests.cells import cell


def row(protocol="equalised", method="self_training", seed=0, scores=(90.0, 94.0), **changes):
    return cell(method, scores=scores, protocol=protocol, seed=seed, **changes)


ROWS = [
    row(),
    row(seed=1, scores=(80.0, 96.0)),
    row("stretched", scores=(60.0, 92.0)),
    row("stretched", seed=1, scores=(85.0, 90.0)),
    row("stretched", "fine_tuning", scores=(99.0, 99.0)),  # better, but of one seed alone
    row(scores=(10.0, 20.0), source="montgomery", target="jsrt"),
]


def test_variants_are_told_over_their_seeds_and_directions_apart():
    _, scores, _, signals, *_ = best.markdown(ROWS).split("\n\n")
    lines = scores.splitlines()
    setting = "| equalised, jsrt to montgomery, lungs, 128 px | unet | self-training alone |"
    assert f"{setting} 2 | 90.00 | 88.00 | 92.00 | 2.00 | - | - | - |" in lines
    assert f"{setting} 4 of 4 | 90.00 | - | - | - | - | - |" in signals.splitlines()
    assert any(line.startswith("| equalised, montgomery to jsrt, lungs") for line in lines)
    heart = row(task="heart", jaccard=None, dice=None)  # of which there are no labels to score with
    _, _, _, signals, _, _, *worst = best.markdown([*ROWS, heart]).split("\n\n")
    assert "| equalised, jsrt to montgomery, heart, 128 px | unet | self-training alone | 2 of 2 |" in signals
    assert worst == best.markdown(ROWS).split("\n\n")[6:]
    assert best.markdown([]) == best.ROWS.nothing
    labelled = row(label_frac=0.5, protocol="labelled")
    assert "labelled" not in best.markdown([*ROWS, labelled])


def test_the_worst_images_are_those_of_each_directions_best_variant_that_has_most_seeds(monkeypatch):
    monkeypatch.setattr(best, "WORST", 3)
    heading, table, other_heading, other_table = best.markdown(ROWS).split("\n\n")[6:]
    assert heading.startswith("jsrt to montgomery")
    assert "in which equalised, self-training alone is worst" in heading
    assert table.splitlines()[0] == "| image | seed | equalised, self-training alone | stretched, self-training alone |"
    assert table.splitlines()[2:] == [
        "| m0 | 1 | 80.0 | 85.0 |",
        "| m0 | 0 | 90.0 | 60.0 |",
        "| m1 | 0 | 94.0 | 92.0 |",
    ]
    assert other_heading.startswith("montgomery to jsrt")
    assert other_table.splitlines()[2:] == ["| m0 | 0 | 10.0 |", "| m1 | 0 | 20.0 |"]


def test_a_seed_more_of_the_best_leaves_the_others_beside_it(monkeypatch):
    monkeypatch.setattr(best, "WORST", 2)
    heading, table = best.markdown([*ROWS, row(seed=2, scores=(70.0, 97.0))]).split("\n\n")[6:8]
    assert "in which equalised, self-training alone is worst, beside the others:" in heading
    assert table.splitlines()[2:] == ["| m0 | 2 | 70.0 | - |", "| m0 | 1 | 80.0 | 85.0 |"]


def test_images_of_another_task_or_of_other_seeds_are_not_compared():
    heart = row(task="heart", scores=(50.0, 60.0))
    tables = best.markdown([*ROWS, heart]).split("\n\n")[6:]
    assert set(best.markdown(ROWS).split("\n\n")[6:]) < set(tables)
    assert any("heart, 128 px, unet: the 2 cases" in text for text in tables)
    others = [row("later", seed=seed) for seed in (1, 2)]
    assert best.markdown([*ROWS, *others]).split("\n\n")[6:] == best.markdown(ROWS).split("\n\n")[6:]


def test_only_the_fields_that_may_vary_do():
    one = row(config={"target": "a", "target_in_memory": 1, "task": "lungs"})
    assert best.ROWS.mixtures([one, row(config=one["config"] | {"target": "b"})]) == []
    assert len(best.ROWS.mixtures([one, row(config=one["config"] | {"target_in_memory": 2})])) == 1


def test_rows_come_from_runs_of_table_2_and_go_to_a_file_of_their_own(tmp_path):
    kept = tmp_path / best.ROWS.file
    assert kept.name == "best.json"
    with pytest.raises(RowsError, match=r"there is no .*table2.json: expected .*finished run of configs/table2.py"):
        best.ROWS.add(tmp_path, kept)
    (tmp_path / "table2.json").write_text(json.dumps(ROWS))
    best.ROWS.add(tmp_path, kept)
    assert len(best.ROWS.read(kept)) == len(ROWS)
    assert all(row["variant"] == row["protocol"] for row in best.ROWS.read(kept))
    assert cells.ROWS.file == "table2.json"
    (tmp_path / "table2.json").write_text(json.dumps([row(seed=2, commit="d")]))
    with pytest.raises(RowsError, match="commit: 'c' / 'd'"):
        best.ROWS.add(tmp_path, kept)
