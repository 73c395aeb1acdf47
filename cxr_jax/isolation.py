"""Files are read in a process of its own: what crashes, hangs or devours memory there is an error here, no more."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType

from cxr_jax.reading import ReadError, read
from tfds_builders.radiograph_files import Radiograph

SECONDS = 60.0  # a file may take
MAX_MEMORY = 6 * 2**30  # bytes of address space


class IsolatedReader:
    """Reads radiographs as `cxr_jax.reading.read` does, whatever the files do to their decoders. A context manager."""

    def __init__(self, seconds: float = SECONDS, memory: int = MAX_MEMORY):
        """Start no process yet; a file gets that many seconds, and the process that many bytes."""
        self._seconds, self._memory, self._pool = seconds, memory, None

    def __enter__(self) -> "IsolatedReader":
        """Return the reader."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End the process."""
        self._end()

    def read(self, path: Path) -> Radiograph:
        """Return a radiograph; raise `ReadError` where it cannot be read, in time and memory."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, context, initializer=_limit, initargs=(self._memory,))
        try:
            return self._pool.submit(read, path).result(self._seconds)
        except TimeoutError as error:
            self._end()
            raise ReadError(f"{path}: reading it took more than {self._seconds:g} seconds; it was given up") from error
        except BrokenProcessPool as error:
            self._end()
            raise ReadError(f"{path}: its decoder crashed; the file is damaged or hostile") from error

    def _end(self) -> None:
        if self._pool is not None:
            for process in list(self._pool._processes.values()):
                process.kill()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _limit(memory: int) -> None:
    """Bound this process's memory, where the system can."""
    try:
        import resource  # not on every system

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (memory, hard))
    except (ImportError, ValueError, OSError):
        pass
