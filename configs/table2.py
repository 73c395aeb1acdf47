"""Table II (paper, section VI-B): transfer, fine-tuning and training from scratch at each share of B's labels.

`:paper` is the paper's protocol and the default. `:augmented` is that preset of `configs/transfer.py`, and `:best` is
`configs/best.py`; both have M_A's self-training without a transfer beside the paper's methods. `:small`,
`:small_augmented` and `:small_best` are the three for two CPU cores, at 128x128 with narrow networks; `:phantom`,
`:phantom_augmented` and `:phantom_best` have a few cells on procedural radiographs.
"""

from ml_collections import ConfigDict

from configs import best, transfer

PRESETS = {  # the file whose preset a cell is, and that preset
    "paper": (transfer, ""),
    "augmented": (transfer, "augmented"),
    "best": (best, ""),
    "small": (transfer, "small"),
    "small_augmented": (transfer, "small_augmented"),
    "small_best": (best, "small"),
    "phantom": (transfer, "phantom"),
    "phantom_augmented": (transfer, "phantom_augmented"),
    "phantom_best": (best, "phantom"),
}


def get_config(preset: str = "paper") -> ConfigDict:
    """Return the config of a preset."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    file, of_cells = PRESETS[preset]
    config = file.get_config(of_cells)
    del config.seed, config.label_frac  # a table has many
    config.method = "table2"
    config.protocol = next((name for name in ("augmented", "best") if name in preset), "paper")
    own = () if config.protocol == "paper" else ("self_training",)  # M_A's self-training without a translation
    config.methods = ("transfer", *own, "fine_tuning", "from_scratch")
    config.label_fracs = (0.0, 0.0125, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0)
    config.qualitative = ("heart", "clavicles")
    config.seeds = (0,)
    config.together = 4
    if preset == "small_augmented":  # a table has many transfers, so little of each
        config.discriminator.layers = 4
        config.transfer.epochs = 6
        config.self_training.epochs = 15
    elif preset.startswith("phantom"):
        config.label_fracs = (0.0, 0.05)
        config.qualitative = ()
    return config
