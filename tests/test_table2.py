"""Table II: the grid, what its cells share, and its rows."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from configs import table2 as config_file
from cxr_jax import (
    checkpoints,
    config,
    datasets,
    experiment,
    files,
    journal,
    plans,
    results,
    runs,
    segmentation,
    statistics,
    table2,
    transfer,
)
from cxr_jax.data import prepared
from cxr_jax.plausibility import Shape
from cxr_jax.report import cells, figure8, published, without_labels
from cxr_jax.report import table2 as report_table2
from cxr_jax.report.rows import RowsError
from tests import tiny
from tests.cells import cell

OWN = ("method", "protocol", "methods", "label_fracs", "qualitative", "seeds", "together")


def small(**changes) -> plans.Table2:
    """Return the phantom table at 32x32 with the smallest networks."""
    plain = config.to_json(tiny.experiment())  # whose programs other tests compile too
    plain["self_training"]["epochs"] = 0
    del plain["seed"], plain["label_frac"]
    table = config_file.get_config("phantom")
    own = {name: table[name] for name in OWN}
    adaptation = plain["pretraining"] | {"epochs": 1}
    return config.parse(plain | own | {"adaptation": adaptation} | changes)


@pytest.mark.parametrize("preset", config_file.PRESETS)
def test_presets_are_the_grid_of_the_paper(preset):
    table = config.parse(config_file.get_config(preset))
    assert table.protocol == (preset.split("_")[-1] if preset.endswith(("augmented", "best")) else "paper")
    if not preset.startswith("phantom"):
        assert table.label_fracs == (0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)
        assert len(table.experiments()) == len(table.methods) * 8 - 1 + 2
        assert ("self_training" in table.methods) == (table.protocol != "paper")
        assert table.experiments()["seed0/heart"].label_frac == 0
        assert "seed0/from_scratch_0" not in table.experiments()
        assert table.experiments()["seed0/fine_tuning_1.25"].label_frac == 0.0125
    assert bool(table.experiment.augmentation.moves) == (table.protocol != "paper")
    assert (table.experiment.tones == "equalised") == (table.protocol == "best")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"methods": ("transfer", "magic")},
            "config.methods must be one of transfer, self_training, fine_tuning, from_scratch; found",
        ),
        ({"label_fracs": (0.0, 1.5)}, r"config.label_frac must be in \[0, 1\], found 1.5"),
        ({"label_fracs": (0.1, 0.1)}, "config.label_fracs must name at least one, and each once"),
        ({"seeds": ()}, "config.seeds must name at least one"),
        ({"together": 0}, "config.together must be in"),
        ({"adaptation": None}, "config.adaptation is missing; method 'fine_tuning' needs it"),
        (
            {"methods": ("self_training",)},
            "config.self_training is missing or has no epochs; method 'self_training' needs it",
        ),
        ({"colour": 1}, "config.colour is unknown"),
        (
            {"methods": ("from_scratch",), "label_fracs": (0.0,)},
            "leave no cell: nothing is learned from scratch at 0 %",
        ),
        (
            {"methods": ("fine_tuning",), "qualitative": ("heart",)},
            "config.qualitative names organs .*: expected 'transfer' among config.methods",
        ),
        ({"qualitative": ("lungs",)}, "config.qualitative must not name config.task, 'lungs'"),
        ({"qualitative": ("liver",)}, "config.task must be one of lungs, heart, clavicles; found 'liver'"),
    ],
)
def test_a_grid_that_does_not_fit_is_refused(changes, message):
    with pytest.raises(config.ConfigError, match=message):
        small(**changes)


def test_from_scratch_needs_labels():
    with pytest.raises(config.ConfigError, match=r"config\.label_frac must be above 0 for method 'from_scratch'"):
        tiny.experiment(method="from_scratch")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tfds_dir):
    workdir = tmp_path_factory.mktemp("table2")
    return workdir, table2.train(small(), workdir, tfds_dir, None)


def verdicts(workdir, row) -> bool:
    """Return what was recorded of the warm-up and of the transfer of a row."""
    folders = "start/warmup", f"transfer_{100 * row['label_frac']:g}/transfer"
    return all(json.loads((workdir / "seed0" / name / "convergence.json").read_text())["converged"] for name in folders)


def test_every_cell_has_a_row(finished):
    workdir, rows = finished
    assert [(row["method"], row["label_frac"], row["labelled_images"]) for row in rows] == [
        ("transfer", 0.0, 0),
        ("transfer", 0.05, 5),
        ("fine_tuning", 0.0, 0),
        ("fine_tuning", 0.05, 5),
        ("from_scratch", 0.05, 5),
    ]
    for row in rows:
        assert (row["segmenter"], row["protocol"], row["image_size"]) == ("unet", "paper", 32)
        assert row["backend"] == ("munit" if row["method"] == "transfer" else None)
        assert 0 <= row["jaccard"]["mean"] <= 100
        assert set(row["dice"]) == {"mean", "std", "per_image"}
        assert row["converged"] == (None if row["method"] != "transfer" else verdicts(workdir, row))
    assert json.loads((workdir / "table2.json").read_text()) == rows
    assert table2.screen(rows).count("+/-") == 5


def test_cells_share_what_their_seed_starts_from(finished):
    workdir, _ = finished
    shared = {"config.json", "polarity.json", "pretraining", "warmup"}
    assert {path.name for path in (workdir / "seed0/start").iterdir()} == shared
    stages = {"transfer_5": {"transfer"}, "fine_tuning_5": {"adaptation"}, "fine_tuning_0": set()}
    for name, expected in stages.items():
        folders = {path.name for path in (workdir / "seed0" / name).iterdir() if path.is_dir()}
        assert folders == expected | {"overlays"}


@pytest.mark.slow
def test_a_task_without_labels_goes_on_from_the_warmed_up_translator_of_all(finished, tfds_dir, monkeypatch):
    workdir, rows = finished
    load = prepared.load

    def unlabelled(name, task, *arguments, **options):
        data = load(name, task, *arguments, **options)
        return dataclasses.replace(data, masks=None) if (name, task) == ("phantom/b", "heart") else data

    monkeypatch.setattr(prepared, "load", unlabelled)
    warm = workdir / "seed0/start/warmup/scalars.jsonl"
    before = warm.stat().st_mtime_ns
    more = table2.train(small(qualitative=("heart",)), workdir, tfds_dir, None)
    assert warm.stat().st_mtime_ns == before
    assert more[: len(rows)] == rows
    (heart,) = more[len(rows) :]
    assert (heart["task"], heart["method"], heart["jaccard"]) == ("heart", "transfer", None)
    assert heart["plausible"]["images"] == 32
    folders = {path.name for path in (workdir / "seed0/heart").iterdir() if path.is_dir()}
    assert folders == {"pretraining", "transfer", "overlays"}
    assert f"masks plausible, expected jaccard {heart['expected_jaccard']['mean']:.2f}" in table2.screen(more)


def test_fine_tuning_without_labels_is_the_segmenter_as_it_is(finished, tfds_dir):
    workdir, rows = finished
    start = small().starts()[0]
    data = datasets.load(start, tfds_dir, None)
    folder, test = workdir / "seed0/start/pretraining", data.target[data.target_split.test]
    shape = Shape.of(data.source.masks)
    scores = results.write(start, {"source_only": (folder, test)}, shape, {"data": {}}, {}, workdir / "again")["test"][
        "source_only"
    ]
    assert scores == {name: rows[2][name] for name in scores}


def test_a_finished_table_trains_nothing_and_is_evaluated_again(finished, tfds_dir, monkeypatch):
    workdir, rows = finished
    monkeypatch.setattr(transfer, "attempt", None)
    monkeypatch.setattr(segmentation, "train", None)
    assert table2.train(small(), workdir, tfds_dir, None) == rows
    assert [row["jaccard"] for row in table2.evaluate(small(), workdir, tfds_dir, None)] == [
        row["jaccard"] for row in rows
    ]


def test_cells_older_than_the_jaccard_to_expect_stay_in_the_table(finished, tmp_path, tfds_dir):
    workdir, rows = finished
    shutil.copytree(workdir, tmp_path / "older")
    path = tmp_path / "older/seed0/fine_tuning_0/results.json"
    older = json.loads(path.read_text())
    del older["expected_jaccard"]
    files.write_json(path, older)
    assert all(row["expected_jaccard"]["per_image"].keys() == row["jaccard"]["per_image"].keys() for row in rows)
    found = table2.train(small(), tmp_path / "older", tfds_dir, None)
    changed = [(before, after) for before, after in zip(rows, found, strict=True) if before != after]
    ((before, after),) = changed
    assert before.keys() - after.keys() == {"expected_jaccard", "tested"}
    assert table2.screen([*found, after | {"task": "heart"}]).endswith("masks plausible")


def test_what_is_not_finished_is_trained_before_it_is_evaluated(finished, tmp_path, tfds_dir):
    workdir, _ = finished
    shutil.copytree(workdir / "seed0/start", tmp_path / "seed0/start")
    with pytest.raises(checkpoints.CheckpointError, match=r"cell .*transfer_0 is not finished: give .*--mode=train"):
        table2.evaluate(small(), tmp_path, tfds_dir, None)
    longer = small(adaptation=config.to_json(tiny.experiment())["pretraining"] | {"epochs": 3})
    shutil.copytree(workdir / "seed0/fine_tuning_5", tmp_path / "stopped")
    cell = runs.Run(longer.experiments()["seed0/fine_tuning_5"], tmp_path / "stopped")
    files.write_json(cell.workdir / "config.json", config.to_json(cell.experiment))
    with pytest.raises(checkpoints.CheckpointError, match=r"ends at epoch 1 of 3: give the command with --mode=train"):
        experiment.evaluate_run(cell, tfds_dir, None)


def test_a_start_serves_other_settings_of_later_stages(finished, tmp_path):
    workdir, _ = finished
    shutil.copytree(workdir / "seed0/start", tmp_path / "start")
    stored = json.loads((tmp_path / "start/config.json").read_text())
    assert stored["adaptation"] is stored["self_training"] is None

    def check(**changes):
        table = small(**changes)
        start = runs.Run(table.starts()[0], tmp_path / "start")
        runs.require_own(runs.Run(table.experiments()["seed0/fine_tuning_5"], tmp_path / "cell", start))

    pretraining = config.to_json(tiny.experiment())["pretraining"]
    check(adaptation=pretraining | {"epochs": 3})
    (tmp_path / "start/config.json").write_text(json.dumps(stored | {"adaptation": pretraining}))  # as older ones are
    check()
    with pytest.raises(runs.WorkdirError, match=r"config.pretraining.epochs: 2 / 7"):
        check(pretraining=pretraining | {"epochs": 7})


def test_fine_tuning_starts_from_the_segmenter(finished):
    workdir, _ = finished
    rows = {
        name: journal.read(workdir / f"seed0/{name}/adaptation" / journal.SCALARS)
        for name in ("fine_tuning_5", "from_scratch_5")
    }
    assert {name: [row["epoch"] for row in found] for name, found in rows.items()} == {
        "fine_tuning_5": [0, 1],  # M_A as it is counts as an epoch
        "from_scratch_5": [1],
    }
    assert rows["fine_tuning_5"][-1]["segmentation"] < rows["from_scratch_5"][-1]["segmentation"]


ROWS = [
    cell(),
    cell(backend="cyclegan", mean=89.0),
    cell("fine_tuning", mean=76.0),
    *(cell(method, 0.5, mean) for method, mean in (("transfer", 94.0), ("fine_tuning", 93.5), ("from_scratch", 90.0))),
]


CURVES = [*ROWS, cell(label_frac=1.0, mean=95.0)]  # of three shares
SETTING = "paper, unet, montgomery lungs, 128 px, seed 0"


def test_the_table_has_ours_beside_the_published_figures():
    lines = report_table2.markdown(ROWS).split("\n\n")[0].splitlines()
    assert lines[0].endswith("| transfer, cyclegan | transfer, munit | fine-tuning | from scratch |")
    setting = "| paper, unet, montgomery lungs, seed 0 | 128 |"
    assert lines[2] == f"{setting} 0 % | 0 | 89.00 ± 2.00 | 90.00 ± 2.00 | 76.00 ± 2.00 |  |"
    assert lines[3] == f"{setting} 50 % | 41 |  | 94.00 ± 2.00 | 93.50 ± 2.00 | 90.00 ± 2.00 |"
    assert lines[4] == "| published, lungs | 256 | 0 % |  |  | 88.20 ± 9.80 | 4.30 ± 4.13 |  |"
    assert len(lines) == 2 + 2 + len(published.TABLE2)
    assert report_table2.markdown([]) == report_table2.ROWS.nothing


def test_gains_are_tested_image_by_image_over_all_shares():
    found = {(gain["one"], gain["other"], gain["share"]): gain for gain in report_table2.gains(ROWS)}
    assert set(found) == {
        ("transfer, munit", "fine-tuning", 0.0),
        ("transfer, munit", "fine-tuning", 0.5),
        ("transfer, munit", "from scratch", 0.5),
        ("transfer, cyclegan", "fine-tuning", 0.0),
    }
    first, last = (found["transfer, munit", "fine-tuning", share] for share in (0.0, 0.5))
    assert first["test"].difference == pytest.approx(14.0)
    assert [first["p_holm"], last["p_holm"]] == pytest.approx(
        statistics.holm([first["test"].p_value, last["test"].p_value])
    )
    assert f"| transfer, munit less fine-tuning | {SETTING} | 0 % | +14.00 |" in report_table2.markdown(ROWS)
    with pytest.raises(RowsError, match="cannot stand in one table"):
        report_table2.markdown([cell(), cell("fine_tuning", images=27)])


def test_converged_seeds_are_counted_with_and_without_help():
    changes = ({}, {"seed": 1, "restarts": 1}, {"seed": 2, "restarts": 2, "converged": False})
    seeds = [cell(mean=mean) | change for mean, change in zip((90.0, 91.0, 88.0), changes, strict=True)]
    counts = {"seeds": 3, "alone": 1, "helped": 2, "jaccard": pytest.approx([90.0, 91.0, 88.0])}
    assert list(report_table2.stability([*seeds, cell("fine_tuning")]).values()) == [counts]
    document = report_table2.markdown(seeds)
    setting = "paper, jsrt to montgomery, lungs, 128 px"
    assert f"| {setting} | unet, munit | 0 % | 3 | 1 | 2 | 89.67 | 88.00 | 91.00 |" in document
    assert f"| {setting} | unet | transfer, munit | 3 | 89.67 | 88.00 | 91.00 | 2.00 | - | - | - |" in document
    assert f"| {setting} | unet | transfer, munit | 75 of 84 | " in document
    assert "seed 2" not in document  # a table of its own for each would have one line


@pytest.mark.parametrize("other", [{"segmenter": "fcn"}, {"source": "montgomery", "target": "jsrt"}])
def test_seeds_of_other_segmenters_and_datasets_are_counted_apart(other):
    rows = [cell(mean=90.0), cell(mean=80.0) | other]
    assert sorted(counts["jaccard"] for counts in report_table2.stability(rows).values()) == [[80.0], [90.0]]
    lines = without_labels.scores(rows).splitlines()[2:]
    assert sorted(line.split(" | ")[4] for line in lines) == ["80.00", "90.00"]


def test_tasks_without_labels_have_a_count_of_plausible_masks():
    heart = cell() | {"task": "heart", "jaccard": None, "dice": None}
    setting = "paper, jsrt to montgomery, heart, 128 px"
    document = report_table2.markdown([*ROWS, heart])
    assert f"| {setting} | unet | transfer, munit | 1 | - | - | - | - | - | - | - |" in document
    assert f"| {setting} | unet | transfer, munit | 25 of 28 | - | - | - | - | - | - |" in document
    assert "paper, unet, montgomery heart" not in report_table2.markdown([*ROWS, heart])


def test_rows_are_read_checked_and_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    kept = tmp_path / "table2.json"
    for content in (ROWS, [cell(mean=91.0)]):
        (tmp_path / "run/table2.json").write_text(json.dumps(content))
        cells.ROWS.add(tmp_path / "run", kept)
    assert [r["jaccard"]["mean"] for r in cells.ROWS.read(kept) if r["label_frac"] == 0] == [76.0, 89.0, 91.0]
    other = cell(label_frac=1.0) | {"commit": "d", "config": {"task": "lungs", "pretraining": {"epochs": 6}}}
    (tmp_path / "run/table2.json").write_text(json.dumps([other]))
    with pytest.raises(
        RowsError, match=r"would mix[^$]*commit: 'c' / 'd'[^$]*config.pretraining.epochs: 5 / 6[^$]*--mix"
    ):
        cells.ROWS.add(tmp_path / "run", kept)
    assert len(cells.ROWS.read(kept)) == len(ROWS)
    cells.ROWS.add(tmp_path / "run", kept, mix=True)
    assert len(cells.ROWS.read(kept)) == len(ROWS) + 1
    (tmp_path / "run/table2.json").write_text(json.dumps([{"method": "transfer"}]))
    with pytest.raises(RowsError, match=r"a row lacks backend, .*run configs/table2.py in its workdir again"):
        cells.ROWS.add(tmp_path / "run", kept)


def test_the_figure_has_our_curves_and_the_published_ones(tmp_path):
    (shares,) = cells.settings(ROWS).values()
    curves = figure8.curves(shares)
    assert set(curves) == {"transfer, munit", "transfer, cyclegan", "fine-tuning", "from scratch"}
    method, curve = curves["transfer, munit"]
    assert method == "transfer"
    mean, low, high = curve[0.5]
    assert low < mean == 94.0 < high
    assert low == pytest.approx(94.0 - 1.96 * 2 / np.sqrt(28), abs=0.3)
    mean, low, high = figure8.published()["transfer"][0.0]
    assert (mean, high - mean) == pytest.approx((88.20, 2.056 * 9.80 / np.sqrt(27)), abs=1e-2)
    two_shares = [row | {"seed": 1} for row in ROWS]
    shares = {"transfer": 0.05, "fine_tuning": 0.5, "from_scratch": 1.0}  # three, but no method has them all
    scattered = [cell(method, share, seed=2) for method, share in shares.items()]
    for rows in ([], CURVES, [*CURVES, *two_shares, *scattered]):
        figure8.draw(rows, tmp_path / "figure8.png")
        with Image.open(tmp_path / "figure8.png") as picture:
            assert picture.width == 650


def test_each_setting_of_the_figure_has_a_range_of_its_own(tmp_path, monkeypatch):
    ranges = []
    monkeypatch.setattr(
        figure8.Figure, "savefig", lambda figure, *_, **__: ranges.extend(axis.get_ylim() for axis in figure.axes)
    )
    low = [
        row
        | {
            "seed": 1,
            "jaccard": row["jaccard"]
            | {
                "per_image": {k: v - 50 for k, v in row["jaccard"]["per_image"].items()},
                "mean": row["jaccard"]["mean"] - 50,
            },
        }
        for row in CURVES
    ]
    figure8.draw([*CURVES, *low], tmp_path / "figure8.png")
    upper, other, lower, far_lower = ranges
    assert upper == other == (0, 100)
    assert lower == pytest.approx(np.add(far_lower, 50), abs=0.5)
