"""What a command of `cxr_jax.model_rows` keeps, where measuring is played."""

import json
from pathlib import Path

from cxr_jax import model_rows


def kept(module, file, rows, folder: Path, monkeypatch) -> list[dict]:
    """Return what the command of `module` keeps in `file`, below `folder`, of models that have these rows, one each."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["command", *(f"--model=m={number}" for number in range(len(rows)))])
    monkeypatch.setattr(model_rows.platform, "use_compilation_cache", lambda: None)
    monkeypatch.setattr(module, "measure", lambda name, workdir, *folders: [rows[int(str(workdir))]])
    path = folder / "docs/results" / file
    path.parent.mkdir(parents=True)
    module.main()
    return json.loads(path.read_text())
