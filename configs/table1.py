"""Table I (paper, section VI-A): every segmenter on JSRT's lungs, heart and clavicles, in five folds.

`:paper` is the paper's protocol and the default; `:best` adds augmentation, a cosine schedule and averaged weights,
which it does not have. `:small` and `:small_best` are the same for two CPU cores, at 128x128, with narrow networks,
fewer epochs and two folds; `:phantom` takes two minutes on procedural radiographs.
"""

from ml_collections import ConfigDict

from configs import segmentation

AUGMENTATION = segmentation.AUGMENTATION | {  # one dataset: its framing and contrast vary little
    "rotation": 5.0,
    "scale": (0.9, 1.1),
    "shift": 0.05,
    "crop": 1.0,
    "gamma": 1.3,
    "contrast": 0.2,
    "brightness": 0.1,
}

PRESETS = ("paper", "best", "small", "small_best", "phantom")


def get_config(preset: str = "paper") -> ConfigDict:
    """Return the config of a preset."""
    if preset not in PRESETS:
        raise ValueError(f"unknown preset {preset!r}: expected one of {', '.join(PRESETS)}")
    config = segmentation.get_config("phantom" if preset == "phantom" else "")
    del config.segmenter, config.task, config.fold, config.seed  # a table has many
    del config.target, config.target_dir, config.target_in_memory, config.label_frac  # and no target
    config.method = "table1"
    config.protocol = "best" if "best" in preset else "paper"
    config.segmenters = {
        "unet": {"width": 64},
        "segnet": {"width": 64},
        "fcn": {"width": 64},
        "invertednet": {"width": 256},
        "scan": {"width": 8},
    }
    config.only = ()
    config.critics = {"scan": {"name": "scan", "width": 8, "weight": 0.01, "learning_rate": 1e-4}}
    config.together = 4
    config.tasks = ("lungs", "heart", "clavicles")
    config.folds = (0, 1, 2, 3, 4)
    config.seeds = (0,)
    if "best" in preset:
        config.augmentation = AUGMENTATION
        config.pretraining.update(learning_rate=1e-3, weight_decay=1e-4, schedule="cosine", average=0.99)
    if preset.startswith("small"):
        config.image_size = 128
        config.segmenters = {"unet": {"width": 24}, "segnet": {"width": 8}, "fcn": {"width": 8}}
        config.critics = {}
        config.folds = (0, 1)
        config.pretraining.update(epochs=40, learning_rate=1e-3 if "best" in preset else 3e-4)
    elif preset == "phantom":
        config.segmenters = {"unet": {"width": 8, "depth": 3}}
        config.critics = {}
        config.tasks = ("lungs", "heart")
        config.folds = (0, 1)
        config.pretraining.epochs = 4
    return config
