"""Results files and the documents made of them."""

import json

import pytest

from cxr_jax.report import documents, single_runs

ROW = {
    "config": {"task": "lungs"},
    "command": "python main.py",
    "seed": 0,
    "commit": "abc",
    "device": "cpu",
    "source": "jsrt",
    "target": "montgomery",
    "label_frac": 0.0125,
    "image_size": 128,
    "test": {"transfer": {"jaccard": {"mean": 93.456, "std": 2.345, "per_image": {}}}},
}


def test_documents_say_what_the_results_files_say():
    for path, content in documents.written(documents.ROOT).items():
        assert path.read_text() == content, f"{path.name} is out of date: python -m cxr_jax.report"


def test_what_the_readme_shows_is_there():
    assert set(documents.HIGHLIGHTS) <= {
        run["name"] for run in single_runs.read_results(documents.ROOT / documents.RESULTS)
    }


def test_table_has_a_row_a_run(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(ROW))
    single_runs.add("one", tmp_path, tmp_path)
    (tmp_path / "results.json").unlink()
    rows = single_runs.read_results(tmp_path)
    last = single_runs.table(rows, single_runs.COLUMNS).splitlines()[-1]
    assert last.endswith("| 1.25 % | 128 | 93.46 ± 2.35 |")
    other = ROW | {"name": "two", "test": {"source_only": ROW["test"]["transfer"]}}
    both = single_runs.table([*rows, other], single_runs.COLUMNS).splitlines()
    assert both[0].endswith("| M_A on the target | transfer |")  # columns that some run has
    assert both[2].endswith("| 128 | - | 93.46 ± 2.35 |")
    assert both[3].endswith("| 128 | 93.46 ± 2.35 | - |")
    assert (
        documents.insert("a\n<!-- x: python -m cxr_jax.report -->\nold\n<!-- end of x -->\nb", "x", "new")
        == "a\n<!-- x: python -m cxr_jax.report -->\nnew\n<!-- end of x -->\nb"
    )


def test_rows_of_table_1_are_no_single_run(tmp_path):
    kept, rows = tmp_path / "table1.json", json.dumps([{"segmenter": "unet"}])
    kept.write_text(rows)
    assert single_runs.read_results(tmp_path) == []
    (tmp_path / "results.json").write_text(json.dumps(ROW))
    with pytest.raises(single_runs.ReportError, match="is for the rows of a table"):
        single_runs.add("table1", tmp_path, tmp_path)
    assert kept.read_text() == rows
    (tmp_path / "results.json").write_text(rows)
    with pytest.raises(single_runs.ReportError, match=r"is not of a single run.* --add-table1 or --add-table2"):
        single_runs.add("one", tmp_path, tmp_path)
    with pytest.raises(single_runs.ReportError, match="is not of a single run"):
        single_runs.read_results(tmp_path)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(single_runs.ReportError, match=r"there is no .* added with --add-table1 or --add-table2"):
        single_runs.add("one", tmp_path, tmp_path)
    (tmp_path / "bad.json").write_text(json.dumps({"name": "bad"}))
    with pytest.raises(single_runs.ReportError, match="lacks command, config"):
        single_runs.read_results(tmp_path)
    with pytest.raises(single_runs.ReportError, match=r"README.md lacks the lines"):
        documents.insert("no markers", "results", "table", "README.md")
