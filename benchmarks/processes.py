"""Measuring in processes of their own."""

import re
import resource
import subprocess
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")


def run(program: str, *words: str) -> str:
    """Run a Python program with arguments in a process of its own; return what it prints.

    What it writes to stderr is shown. Raises `CalledProcessError` where it fails.
    """
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def result(program: str, *words: str) -> str:
    """Run a program so; return the last line that it prints."""
    return run(program, *words).splitlines()[-1]


def peak() -> float:
    """Return the most of the machine's memory that this process has had since its program began, in MiB.

    On Linux that is not `ru_maxrss`, which goes on from the peak of the process that started this one.
    """
    told = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text() if STATUS.exists() else "", re.MULTILINE)
    if told:
        return int(told[1]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
