"""What is claimed about speed, as commands: each prints and keeps the ratio to a peer measured in the same run."""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # of a GPU's memory JAX would leave peers a quarter
