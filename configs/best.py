"""The best that is known without labels of the target: `configs/transfer.py:augmented` with equalised tones and views.

Every image is shown by the ranks of its pixels, so that the curve of a scanner's tones is gone before anything learns;
lungs that M_A learns from have effusions drawn into them; a mask is the mean over views of its image; discriminators
see 46 pixels. `:small` is the same for two CPU cores, at 128x128 with narrow networks and a short transfer; `:phantom`
is for procedural radiographs. What each part gives, and how it was chosen, is in docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from configs import transfer

PRESETS = {"": "augmented", "small": "small_augmented", "phantom": "phantom_augmented"}


def get_config(preset: str = "") -> ConfigDict:
    """Return the config of a preset."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(filter(None, PRESETS))}, or none")
    config = transfer.get_config(PRESETS[preset])
    config.tones = "equalised"
    config.test_time_augmentation = True
    config.augmentation.effusion = 0.3
    config.discriminator.layers = 4
    if preset == "small":
        config.pretraining.epochs = 90  # after 45, its scores on either scanner still rose
        config.transfer.epochs = 6
        config.self_training.epochs = 15
    return config
