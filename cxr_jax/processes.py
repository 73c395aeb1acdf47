"""The flags by which several processes train together, and the start of that."""

import re

from absl import app, flags

from cxr_jax import devices

COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Train in several processes: where the first listens, HOST:PORT, or `auto` where the cluster says (Slurm, MPI).",
)
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes there are.", lower_bound=1)
PROCESS = flags.DEFINE_integer("process", None, "Which of them this is, from 0; all share --workdir.", lower_bound=0)


def join(mode: str, *, together: bool) -> None:
    """Join the other processes, if there are any, for a mode that they do `together`; raise `UsageError`."""
    alone = COORDINATOR.value is None
    if alone and (PROCESSES.value, PROCESS.value) != (None, None):
        raise app.UsageError("--processes and --process need --coordinator, the address of the first process")
    if alone:
        return
    if not together:
        raise app.UsageError(f"--mode={mode} runs in one process: leave --coordinator out")
    if COORDINATOR.value != "auto" and not re.fullmatch(r".+:\d+", COORDINATOR.value):
        raise app.UsageError(f"--coordinator expects HOST:PORT or auto, found {COORDINATOR.value!r}")
    if COORDINATOR.value != "auto" and not (PROCESS.value or 0) < (PROCESSES.value or 0):
        raise app.UsageError(
            f"--coordinator={COORDINATOR.value} needs --processes and, below that, --process; "
            f"found {PROCESSES.value} and {PROCESS.value}"
        )
    try:
        devices.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    except ValueError as error:  # of JAX, where no cluster is found
        raise app.UsageError(
            f"--coordinator={COORDINATOR.value} found no processes to join ({error}): expected Slurm or MPI, which say "
            "who takes part; elsewhere give HOST:PORT, --processes and --process"
        ) from error
