"""Table I: the grid of experiments, what is left alone, spreads, and the documents made of the rows."""

import json

import numpy as np
import pytest

from configs import table1 as config_file
from cxr_jax import config, experiment, published, report_table1, table1


def tiny(**changes) -> config.Table1:
    plain = config_file.get_config("phantom")
    plain.image_size = 32
    plain.tasks = ("lungs",)
    plain.segmenters = {"unet": {"width": 8, "depth": 2}}
    plain.pretraining.update(epochs=1, batch_size=16)
    plain.update(changes)
    return config.parse(plain)


@pytest.mark.parametrize("preset", config_file.PRESETS)
def test_every_preset_is_a_grid_of_valid_experiments(preset):
    table = config.parse(config_file.get_config(preset))
    cells = table.experiments()
    assert len(cells) == len(table.segmenters) * len(table.tasks) * len(table.folds) * len(table.seeds)
    assert all(cell.target is None for cell in cells.values())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("folds", (0, 5), "config.fold must be in"),
        ("folds", (), "config.folds must name at least one"),
        ("tasks", ("lungs", "lungs"), "config.tasks must name at least one, and each once"),
        ("tasks", ("liver",), "config.task must be one of lungs, heart, clavicles"),
        ("seeds", (0, "1"), "config.seeds must be a int"),
        ("segmenters", {"vnet": {}}, "config.segmenter.name must be one of"),
        ("target", "montgomery", "config.target is unknown"),
        ("together", 0, "config.together must be in"),
        ("critics", {"scan": {}}, "config.critics.scan.name is missing"),
        (
            "critics",
            {"scan": {"name": "scan", "width": 8, "weight": 0.01, "learning_rate": 1e-4}},
            "config.critics must be one of unet; found 'scan'",
        ),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused(field, value, message):
    plain = config_file.get_config("phantom").to_dict()
    plain[field] = value
    with pytest.raises(config.ConfigError, match=message):
        config.parse(plain)


def test_a_finished_cell_is_never_trained_again_and_more_seeds_only_add(tmp_path, tfds_dir):
    first = table1.train(tiny(folds=(0,)), tmp_path, tfds_dir, None)
    result = tmp_path / "unet" / "lungs_fold0_seed0" / "results.json"
    written = result.stat().st_mtime_ns
    rows = table1.train(tiny(folds=(0, 1)), tmp_path, tfds_dir, None)
    assert result.stat().st_mtime_ns == written
    assert [row["folds"] for row in (*first, *rows)] == [[0], [0, 1]]
    row = rows[0]
    assert row["jaccard"]["per_fold"][0] == pytest.approx(first[0]["jaccard"]["mean"])
    assert len(row["jaccard"]["per_image"]) == 64
    assert json.loads((tmp_path / table1.SUMMARY).read_text()) == rows
    assert "unet" in table1.screen(rows)
    with pytest.raises(experiment.WorkdirError, match="belongs to another config"):
        table1.train(tiny(folds=(2, 0), image_size=64), tmp_path, tfds_dir, None)
    assert not (tmp_path / "unet" / "lungs_fold2_seed0" / "pretraining").exists()


def test_spreads_are_over_folds_and_over_images():
    folds = [{"a": 90.0, "b": 94.0}, {"c": 96.0, "d": 96.0}]
    result = table1.spread(folds)
    assert result["mean"] == 94.0
    assert result["per_fold"] == [92.0, 96.0]
    assert result["std_folds"] == pytest.approx(np.std([92, 96], ddof=1))
    assert result["std_images"] == pytest.approx(np.std([90, 94, 96, 96], ddof=1))


def row(segmenter="unet", organ="lungs", seed=0, mean=95.0) -> dict:
    spread = {"mean": mean, "std_folds": 0.5, "std_images": 1.5, "per_fold": [mean - 0.5, mean + 0.5]}
    fields = {"protocol": "paper", "image_size": 128, "folds": [0, 1], "device": "cpu", "commit": "abc"}
    return {"segmenter": segmenter, "organ": organ, "seed": seed, "jaccard": spread, "dice": spread, **fields}


def test_documents_show_ours_beside_the_published_figures(tmp_path):
    rows = [row(), row(organ="heart", mean=88.0)]
    text = report_table1.markdown(rows).splitlines()
    assert (
        "| unet | paper, seed 0 | 128 | 2 | 95.00 ± 0.50 | 95.00 ± 0.50 | 88.00 ± 0.50 | 88.00 ± 0.50 |  |  |" in text
    )
    assert "| unet | published | 256 | 5 | 96.02 ± 0.33 | 97.96 ± 0.17 |" in "\n".join(text)
    assert len(text) == 2 + 1 + len(published.TABLE1)
    assert r"95.00 $\pm$ 0.50" in report_table1.latex(rows)
    report_table1.figure7(rows, tmp_path / "figure7.png")
    assert (tmp_path / "figure7.png").stat().st_size > 10_000


def test_rows_are_replaced_and_faulty_files_refused(tmp_path):
    path = tmp_path / "table1.json"
    report_table1.add([row(), row(seed=1)], path)
    report_table1.add([row(mean=96.0)], path)
    assert [(r["seed"], r["jaccard"]["mean"]) for r in report_table1.read(path)] == [(0, 96.0), (1, 95.0)]
    path.write_text(json.dumps([row(), row()]))
    with pytest.raises(report_table1.Table1Error, match="stands there twice"):
        report_table1.read(path)
    path.write_text(json.dumps([{"segmenter": "unet"}]))
    with pytest.raises(report_table1.Table1Error, match="lacks organ, protocol"):
        report_table1.read(path)
