"""The same networks and steps in plain PyTorch, written from the papers for the benchmarks.

Their modules and parameters have the names that ours have, so that `weights.load` can copy ours into them.
"""
