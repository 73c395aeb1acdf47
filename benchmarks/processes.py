"""Measuring in processes of their own."""

import re
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

STATUS = Path("/proc/self/status")
DONE = "done"


def run(program: str, *words: str) -> str:
    """Run a Python program with arguments in a process of its own; return what it prints.

    What it writes to stderr is shown. Raises `CalledProcessError` where it fails.
    """
    command = [sys.executable, "-c", program, *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def result(program: str, *words: str) -> str:
    """Run a program so; return the last line that it prints."""
    return run(program, *words).splitlines()[-1]


class Contestant:
    """A call that is made in a process of its own, and taken there as often as this is called. A context manager."""

    def __init__(self, program: str, *words: str):
        """Start a Python program with arguments, which is to `serve` a call."""
        command = [sys.executable, "-c", program, *words]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self) -> None:
        """Take the call once; raise `RuntimeError` with what it raised there."""
        with suppress(BrokenPipeError):  # of a process that ended before, as its answer tells
            self._process.stdin.write("once\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if answer != DONE:
            raise RuntimeError(answer or "the process ended: what it said is above")

    def __enter__(self) -> "Contestant":
        """Return it."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def serve(prepare: Callable[[], Callable[[], None]]) -> None:
    """Prepare a call and take it once for each line of standard input; say so, or what was raised, in a line."""
    call = None
    for _ in sys.stdin:
        try:
            call = call or prepare()
            call()
            print(DONE, flush=True)
        except Exception as error:
            print(" ".join(f"{type(error).__name__}: {error}".split()), flush=True)


def peak() -> float:
    """Return the most of the machine's memory that this process has had since its program began, in MiB.

    On Linux that is not `ru_maxrss`, which goes on from the peak of the process that started this one.
    """
    told = re.search(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text() if STATUS.exists() else "", re.MULTILINE)
    if told:
        return int(told[1]) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)
