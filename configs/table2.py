"""Table II (paper, section VI-B): transfer, fine-tuning and training from scratch at each share of B's labels.

`:paper` is the paper's protocol and the default; `:best` is the `augmented` of `configs/transfer.py`, and has M_A's
self-training without a transfer beside it. `:small` and
`:small_best` are the same for two CPU cores, at 128x128 with narrow networks; `:phantom` and `:phantom_best` have a few
cells on procedural radiographs.
"""

from ml_collections import ConfigDict

from configs import transfer

PRESETS = {
    "paper": "",
    "best": "augmented",
    "small": "small",
    "small_best": "small_augmented",
    "phantom": "phantom",
    "phantom_best": "phantom_augmented",
}


def get_config(preset: str = "paper") -> ConfigDict:
    """Return the config of a preset."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    config = transfer.get_config(PRESETS[preset])
    del config.seed, config.label_frac  # a table has many
    config.method = "table2"
    config.protocol = "best" if "best" in preset else "paper"
    own = ("self_training",) if "best" in preset else ()  # M_A's self-training without a translation
    config.methods = ("transfer", *own, "fine_tuning", "from_scratch")
    config.label_fracs = (0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)
    config.qualitative = ("heart", "clavicles")
    config.seeds = (0,)
    config.together = 8
    if preset.startswith("phantom"):
        config.label_fracs = (0.0, 0.05)
        config.qualitative = ()
    return config
