"""Files are read in a process of its own: what crashes, hangs or devours memory there is an error here, no more."""

import io
import math
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from tfds_builders.image_files import DownloadError

SECONDS = 60.0  # reading a file may take
START_SECONDS = 120.0  # the start of the process may take
MAX_MEMORY = 6 * 2**30  # bytes of address space
REMEDY = "the file is damaged or hostile, take it away"

Outcome = TypeVar("Outcome")


class UnfinishedError(DownloadError):
    """A file whose reading crashed, or took too much time or memory; the message names it and says which."""


class StartError(ChildProcessError):
    """The process does not start, whatever the file; the message says what was expected of it."""


class Isolated:
    """A process that reads files, whatever they do to it. A context manager.

    It is a Python of its own with this one's paths, which does not run this one's main module. The first call starts
    it, and so does the first after one that it did not survive.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MAX_MEMORY):
        """Start no process yet; a file gets that many seconds, and the process that many bytes."""
        self._seconds, self._memory, self._process = seconds, memory, None

    def __enter__(self) -> "Isolated":
        """Return it."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self._end()

    def call(self, name: str, function: Callable[..., Outcome], *arguments: Any) -> Outcome:
        """Return `function(*arguments)`, which reads the file called `name`, or raise what it raises; all are pickled.

        Raises `UnfinishedError` where it does not end in time and memory, and `StartError` where no process starts.
        """
        question = pickle.dumps((function, arguments))
        if self._process is None:
            self._start(function)
        try:
            done, outcome = self._ask(question, self._seconds)
        except TimeoutError as error:
            raise UnfinishedError(f"{name}: reading it took more than {self._seconds:g} seconds; {REMEDY}") from error
        except EOFError as error:
            raise UnfinishedError(f"{name}: its decoder crashed; {REMEDY}") from error
        if isinstance(outcome, MemoryError):
            raise UnfinishedError(f"{name}: reading it took more than {self._memory} bytes of memory; {REMEDY}")
        if not done:
            raise outcome
        return outcome

    def _start(self, function: Callable) -> None:
        """Start the process and have it import the function's module, which takes none of a file's time."""
        here = str(Path(__file__).parent.parent)
        paths = [*(path for path in sys.path if isinstance(path, str)), here]  # `""` may have come to mean another
        program = (
            "import os, sys; answers = os.fdopen(os.dup(1), 'wb'); os.dup2(2, 1); "  # what decoders print is no answer
            f"sys.path[:] = {paths!r}; from tfds_builders.isolation import serve; "
            f"serve(answers, {self._memory}, {self._seconds})"
        )
        command = [sys.executable, "-c", program]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            done, found = self._ask(pickle.dumps((repr, (function,))), START_SECONDS)
        except (TimeoutError, EOFError) as error:
            done, found = False, error
        if not done:
            self._end()
            raise StartError(
                f"the process that reads files does not start: expected an answer of {sys.executable} within "
                f"{START_SECONDS:g} seconds and {self._memory} bytes of memory, found {found!r}; what it said is above"
            ) from found

    def _ask(self, question: bytes, seconds: float) -> tuple[bool, Any]:
        """Return the answer; where none comes end the process, and raise `TimeoutError` or, if it died, `EOFError`."""
        process, late, answer = self._process, threading.Event(), None
        timer = threading.Timer(seconds, lambda: (late.set(), process.kill()))
        timer.daemon = True
        try:
            timer.start()  # Ctrl-C or SIGTERM may come in here too, with the timer running
            pickle.dump(question, process.stdin)
            process.stdin.flush()
            answer = pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise (TimeoutError if late.is_set() else EOFError)("no answer") from error
        finally:
            timer.cancel()
            if timer.is_alive():
                timer.join()
            if late.is_set() or answer is None:
                self._end()
        return answer

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


def serve(answers: io.BufferedIOBase, memory: int, seconds: float) -> None:
    """Answer the questions on standard input, within that many bytes of memory, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    _limit(memory)
    questions, alarm = sys.stdin.buffer, getattr(signal, "alarm", lambda seconds: None)
    while questions.peek(1):
        alarm(math.ceil(max(seconds, START_SECONDS)) + 5)  # ends this process where the other is no more
        answers.write(_answer(pickle.load(questions)))
        answers.flush()
        alarm(0)


def _answer(question: bytes) -> bytes:
    """Return whether a function returned, and what it returned or raised."""
    try:
        function, arguments = pickle.loads(question)
        return pickle.dumps((True, function(*arguments)))
    except Exception as error:
        error.add_note(f"in the process that reads files:\n{traceback.format_exc()}")
        return _raised(error)


def _raised(error: Exception) -> bytes:
    """Return an error as an answer; one that would not come out whole is told by another."""
    try:
        answer = pickle.dumps((False, error))
        pickle.loads(answer)
    except Exception:
        return pickle.dumps((False, RuntimeError(repr(error))))
    return answer


def _limit(memory: int) -> None:
    """Bound this process's memory, where the system can."""
    try:
        import resource  # not on every system

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    except (ImportError, ValueError, OSError):
        pass
