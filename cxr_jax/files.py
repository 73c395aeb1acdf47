"""Files that are whole or not there."""

from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Write text or bytes so that a killed process leaves the old file or the new one, never half of one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    partial.replace(path)
