"""M_A alone: a U-Net learns on JSRT as in the paper's section V-B; tested on JSRT and, as it is, on Montgomery.

`:augmented` adds augmentation, a cosine schedule and averaged weights, which the paper does not have. `:small` and
`:small_augmented` are the same for two CPU cores: 128x128, narrow networks, fewer epochs, larger learning rates;
`:phantom` and `:phantom_augmented` run in minutes on procedural radiographs. `:look` and `:small_look` are the M_A of
the transfers of that name: the paper's.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

PRESETS = ("", "look", "augmented", "small", "small_look", "small_augmented", "phantom", "phantom_augmented")

NO_AUGMENTATION = {
    "rotation": 0.0,
    "scale": (1.0, 1.0),
    "shift": 0.0,
    "crop": 1.0,
    "gamma": 1.0,
    "contrast": 0.0,
    "brightness": 0.0,
    "negation": 0.0,
    "effusion": 0.0,
}

AUGMENTATION = {
    "rotation": 8.0,
    "scale": (0.65, 1.15),
    "shift": 0.08,
    "crop": 0.9,
    "gamma": 2.0,
    "contrast": 0.4,
    "brightness": 0.2,
    "negation": 0.0,
    "effusion": 0.0,
}


def get_config(preset: str = "") -> ConfigDict:
    """Return the config of a preset."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS[1:])}, or none")
    config = ConfigDict()
    config.method = "segmentation"
    config.seed = 0
    config.task = "lungs"
    config.source = "jsrt"
    config.target = "montgomery"
    config.source_dir = placeholder(str)  # of a source or target "radiograph_folder"
    config.target_dir = placeholder(str)
    config.target_in_memory = 4096  # images; those of a larger target stream while the transfer trains
    config.image_size = 256
    config.precision = "float32"  # or bfloat16
    config.trim = True
    config.negated = ()
    config.tones = "stretched"  # or equalised
    config.test_time_augmentation = False
    config.fold = 0
    config.label_frac = 0.0
    config.ensemble = 1  # networks whose mean M_A is
    config.segmenter = {"name": "unet", "width": 64, "depth": 4}
    config.augmentation = NO_AUGMENTATION
    config.pretraining = {
        "epochs": 150,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "beta1": 0.9,
        "weight_decay": 5e-4,
        "schedule": "constant",
        "average": 0.0,
    }
    if preset.startswith("small"):
        config.image_size = 128
        config.segmenter.width = 16
        config.pretraining.epochs = 60
        config.pretraining.learning_rate = 3e-4
    elif preset.startswith("phantom"):
        config.update(source="phantom/a", target="phantom/b", image_size=64)
        config.segmenter.update(width=8, depth=3)
        config.pretraining.update(epochs=15, learning_rate=2e-3, schedule="cosine")
    if preset.endswith("augmented"):
        config.augmentation = AUGMENTATION
        config.pretraining.update(learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", average=0.99)
        config.pretraining.epochs = 150 if preset == "augmented" else 45
    return config
