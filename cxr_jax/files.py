"""Files that are whole or not there."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from cxr_jax import devices


def write(path: Path, content: str | bytes) -> None:
    """Write text or bytes so that a killed process leaves the old file or the new one, never half of one.

    Of several processes that train together the first writes. Where the disk is full, nothing is left of the attempt.
    """
    if not devices.is_primary():
        return
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write(path, json.dumps(content, indent=1) + "\n")


def read_json(path: Path, default: Any = None) -> Any:
    """Return what a JSON file says; `default` where there is none."""
    return json.loads(path.read_text()) if path.exists() else default
