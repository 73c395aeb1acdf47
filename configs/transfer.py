"""The paper's transfer (sections IV-C and V-C): JSRT's labels to Montgomery through MUNIT.

`:look` adds what the paper does not have: an M_A that learns on A's images in the look of B too, averaged weights, a
cosine schedule, self-training; `:augmented` adds augmentation to that. `:small`, `:small_look` and `:small_augmented`
are the three for two CPU cores: 128x128, narrow networks, fewer epochs, larger learning rates. `:phantom` runs in five
minutes on procedural radiographs, and `:phantom_augmented` is `:augmented` on these.
"""

from ml_collections import ConfigDict

from configs import segmentation


def get_config(preset: str = "") -> ConfigDict:
    """Return the config of a preset."""
    config = segmentation.get_config(preset)
    config.method = "transfer"
    config.translator = {"name": "munit"}  # and the section of that name below
    config.munit = {
        "width": 32,
        "downsamplings": 2,
        "blocks": 2,
        "style": 8,
        "mlp": 32,
        "image_pool": 0,
        "weights": {"adversarial": 1.0, "image": 10.0, "style": 1.0, "content": 1.0, "cycle": 1.0},
    }
    config.munit_dataset_style = config.munit.to_dict()
    config.munit_dataset_style["weights"]["spread"] = 1.0
    config.unit = {
        "width": 32,
        "downsamplings": 2,
        "blocks": 3,
        "image_pool": 0,
        "weights": {"adversarial": 1.0, "image": 10.0, "kl": 0.01, "cycle": 10.0, "kl_cycle": 0.01},
    }
    config.cyclegan = {
        "width": 32,
        "downsamplings": 2,
        "blocks": 6,
        "image_pool": 50,
        "weights": {"adversarial": 1.0, "cycle": 10.0, "identity": 5.0},
    }
    config.discriminator = {"name": "patch", "width": 32, "layers": 2, "scales": 1}
    config.transfer = {
        "warmup_epochs": 20,
        "epochs": 80,
        "batch_size": 4,
        "learning_rate": 1e-4,
        "beta1": 0.5,
        "weight_decay": 1e-4,
        "supervised_learning_rate": 1e-4,
        "supervised_beta1": 0.9,
        "supervised_weight_decay": 5e-4,
        "schedule": "constant",
        "average": 0.0,
        "supervised_looks": {"a": 1.0, "b": 0.0},
        "target_look": "a",
        "convergence": {
            "cycle_error": 0.5,
            "balance": (0.02, 1.0),
            "agreement": 50.0,
            "sane": 50.0,
            "restarts": 2,
        },
    }
    if preset.startswith("small"):
        _widths(config, 8)
        config.transfer.update(epochs=40, learning_rate=5e-4, supervised_learning_rate=3e-4)
    elif preset.startswith("phantom"):
        _widths(config, 8)
        config.munit.mlp = config.munit_dataset_style.mlp = 16
        config.transfer.update(warmup_epochs=10, epochs=10, learning_rate=1e-3, supervised_learning_rate=1e-3)
    if preset.endswith(("look", "augmented")):
        config.transfer.update(schedule="cosine", average=0.99, supervised_looks={"a": 1.0, "b": 1.0}, target_look="b")
    config.adaptation = config.pretraining.to_dict()  # of self-training too, where the target has labels
    config.self_training = config.pretraining.to_dict() | {"epochs": 0}
    if preset.endswith(("look", "augmented")):
        config.self_training.update(
            epochs=20, learning_rate=config.transfer.supervised_learning_rate, schedule="cosine", average=0.99
        )
    if preset == "small_augmented":
        config.adaptation.epochs = 90  # after 45, scores on validation images still rose
    return config


def _widths(config: ConfigDict, width: int) -> None:
    """Make translators of that width, and discriminators of twice that."""
    for translator in (config.munit, config.munit_dataset_style, config.unit, config.cyclegan):
        translator.width = width
    config.discriminator.width = 2 * width
