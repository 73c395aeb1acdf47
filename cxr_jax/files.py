"""Files that are whole or not there."""

from pathlib import Path

from cxr_jax import devices


def write(path: Path, content: str | bytes) -> None:
    """Write text or bytes so that a killed process leaves the old file or the new one, never half of one.

    Of several processes that train together the first writes.
    """
    if not devices.is_primary():
        return
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
