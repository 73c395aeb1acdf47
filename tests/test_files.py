"""Files that are whole or not there."""

from pathlib import Path

import pytest

from cxr_jax import files


def test_a_file_that_cannot_be_written_leaves_the_old_one_alone(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    files.write(path, "old")

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "new")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.txt": "old"}


def test_json_is_read_as_it_was_written_and_may_be_missing(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": [1, None]})
    assert files.read_json(tmp_path / "a.json") == {"a": [1, None]}
    assert (files.read_json(tmp_path / "b.json"), files.read_json(tmp_path / "b.json", [])) == (None, [])
