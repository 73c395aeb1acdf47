"""What made something: command, commit, device and versions."""

import functools
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cxr_jax import platform

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


@functools.cache
def here() -> dict[str, Any]:
    """Return `command`, `commit`, `device` and `versions` of this process, as they are when it is first asked."""
    return {
        "command": command(),
        "commit": commit(),
        "device": platform.device_name(),
        "versions": {package: version(package) for package in PACKAGES} | {"python": sys.version.split()[0]},
    }


def command() -> str:
    """Return the command that runs, as it is given in the project's folder."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = [sys.argv[0]] if module is None else ["-m", module.name]
    return shlex.join(["python", *program, *sys.argv[1:]])


def commit() -> str:
    """Return the commit of the code that runs, marked where a tracked file but a result was changed since.

    Where git does not keep this code it is `unknown`.
    """
    git = functools.partial(subprocess.run, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    try:
        git(["git", "ls-files", "--error-unmatch", Path(__file__).name])  # another project's, around this one, does not
        head = git(["git", "rev-parse", "HEAD"]).stdout.strip()
        paths = ":/", ":(top,exclude)docs/results"
        changed = git(["git", "status", "--porcelain", "--untracked-files=no", "--", *paths]).stdout
        return f"{head}-dirty" if changed else head
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
