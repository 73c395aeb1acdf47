"""The smallest experiment that has every part."""

from pathlib import Path

from configs import transfer
from cxr_jax import config, plans

SIZES = {"width": 4, "downsamplings": 1, "blocks": 1}
TRANSLATOR_SIZES = {
    "munit": SIZES | {"mlp": 8},
    "munit_dataset_style": SIZES | {"mlp": 8},
    "unit": SIZES,
    "cyclegan": SIZES,
}


def experiment(**changes) -> plans.Experiment:
    """Return transfer and self-training at 32x32, two epochs a stage, with `changes` such as `transfer__epochs=3`.

    The transfer is the paper's, without self-training; with it, M_A learns in both looks, and reads images as they are.
    """
    plain = transfer.get_config("phantom")
    plain.image_size = 32
    plain.segmenter.update(width=8, depth=2)
    for name, sizes in TRANSLATOR_SIZES.items():
        plain[name].update(sizes)
    plain.cyclegan.image_pool = 20
    plain.discriminator.width = 4
    plain.pretraining.update(epochs=2, batch_size=16)
    plain.transfer.update(warmup_epochs=1, epochs=2, batch_size=16)
    plain.transfer.convergence.restarts = 0
    plain.self_training.update(epochs=2, batch_size=16, average=0.9)
    plain.adaptation.update(epochs=3, batch_size=16)
    for path, value in changes.items():
        *parents, last = path.split("__")
        section = plain
        for name in parents:
            section = section[name]
        section[last] = value
    if plain.self_training.epochs:
        plain.transfer.update(supervised_looks={"a": 1.0, "b": 1.0}, target_look="b")
    return config.parse(plain)


def of_folder(folder: Path, **changes) -> plans.Experiment:
    """Return the same with a folder of radiographs as the target."""
    return experiment(target="radiograph_folder", target_dir=str(folder), **changes)
