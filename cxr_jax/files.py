"""Files that are whole or not there."""

from contextlib import suppress
from pathlib import Path

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
