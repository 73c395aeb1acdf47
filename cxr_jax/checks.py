"""The values that an experiment may have. Each check raises `ConfigError` for the first that it cannot."""

import dataclasses
import inspect
import math
from collections.abc import Iterable, Mapping
from typing import Any

from cxr_jax.data.augmentation import Augmentation
from cxr_jax.data.look import TONES
from cxr_jax.data.radiographs import DATASETS, FOLDER, TASKS
from cxr_jax.data.splits import FOLDS
from cxr_jax.models import CRITICS, DISCRIMINATORS, PRECISIONS, SEGMENTERS, TRANSLATORS, initialise
from cxr_jax.plans import Convergence, Experiment, SegmenterTraining, Transfer, network_sizes
from cxr_jax.typed import ConfigError

BASELINES = ("fine_tuning", "from_scratch")  # the paper's
TO_TARGET = ("transfer", "self_training", *BASELINES)
METHODS = ("segmentation", *TO_TARGET)
TABLES = ("table1", "table2")
SCHEDULES = ("constant", "cosine")
LOOKS = ("a", "b")


def check_values(experiment: Experiment) -> None:
    """Raise `ConfigError` for the first value outside the networks that cannot be run."""
    one_of("config.method", experiment.method, (*METHODS, *TABLES))
    one_of("config.task", experiment.task, TASKS)
    one_of("config.source", experiment.source, DATASETS)
    if experiment.target is not None or experiment.method != "segmentation":
        one_of("config.target", experiment.target, DATASETS)
    _check_folder("source", experiment.source, experiment.source_dir)
    _check_folder("target", experiment.target, experiment.target_dir)
    for name in experiment.negated:
        one_of("config.negated", name, DATASETS)
    if FOLDER in experiment.negated and experiment.source == experiment.target == FOLDER:
        raise ConfigError(
            f"config.negated names {FOLDER!r}, expected to be config.source or config.target, found to be both: invert "
            "the files of one of the two folders instead"
        )
    one_of("config.tones", experiment.tones, TONES)
    within("config.label_frac", experiment.label_frac, 0, 1)
    within("config.fold", experiment.fold, 0, FOLDS - 1)
    within("config.seed", experiment.seed, 0, 2**31 - 1)
    one_of("config.precision", experiment.precision, PRECISIONS)
    within("config.target_in_memory", experiment.target_in_memory, FOLDS, math.inf)
    within("config.ensemble", experiment.ensemble, 1, 16)
    if experiment.ensemble > 1 and experiment.critic is not None:
        raise ConfigError(
            f"config.ensemble is {experiment.ensemble}: a segmenter that learns against config.critic does so alone; "
            "expected 1"
        )
    _check_augmentation(experiment.augmentation)
    negatives = {experiment.source, experiment.target} & set(experiment.negated) - {FOLDER}  # a folder's are put right
    if experiment.augments.effusion and negatives:
        raise ConfigError(
            "config.augmentation.effusion draws fluid bright, as bones are; config.negated has bones dark in "
            f"{', '.join(sorted(negatives))}: expected effusion to be 0.0, or none of these in negated"
        )
    _check_training("config.pretraining", experiment.pretraining)
    if experiment.critic is not None:
        within("config.critic.weight", experiment.critic.weight, 0, math.inf)
        within("config.critic.learning_rate", experiment.critic.learning_rate, 0, math.inf)
    sections = {"transfer": ("translator", "discriminator", "transfer"), "self_training": ("self_training",)}
    sections |= dict.fromkeys(BASELINES, ("adaptation",))
    for name in sections.get(experiment.method, ()):
        if getattr(experiment, name) is None:
            missing = "is missing or has no epochs" if name == "self_training" else "is missing"
            raise ConfigError(f"config.{name} {missing}; method {experiment.method!r} needs it")
    if experiment.trains_itself and experiment.label_frac > 0 and experiment.adaptation is None:
        raise ConfigError("config.adaptation is missing; self-training beside labels of the target goes by it")
    if experiment.adaptation is not None:
        _check_training("config.adaptation", experiment.adaptation)
    if experiment.self_training is not None:
        least = int(experiment.method == "self_training")  # none leave the stage out of a transfer
        _check_training("config.self_training", experiment.self_training, least_epochs=least)
        within("config.self_training.batch_size", experiment.self_training.batch_size, 2, math.inf)  # half has labels
    if experiment.method == "from_scratch":
        _check_from_scratch(experiment)
    if experiment.method == "segmentation" and experiment.label_frac > 0:
        raise ConfigError(
            f"config.label_frac is {experiment.label_frac}; method 'segmentation' learns from all labels of the source "
            "and none of the target: expected 0.0"
        )
    if experiment.method == "transfer":
        _check_transfer(experiment.transfer, experiment.translator.get("name"))
        if experiment.self_training is not None and experiment.self_training.epochs:
            _check_reads_as_is(experiment.transfer.target_look)


def check_networks(experiment: Experiment) -> None:
    """Raise `ConfigError` for the first network that cannot be made, and for weights of terms it does not have."""
    size, critic = experiment.image_size, experiment.critic
    _check_network("segmenter", experiment.segmenter, SEGMENTERS, size)
    if critic is not None:
        _check_network("critic", {"name": critic.name, "width": critic.width}, CRITICS, size)
    if experiment.method == "transfer":
        name = experiment.translator.get("name")
        one_of("config.translator.name", name, TRANSLATORS)
        _check_network(name, experiment.translator, TRANSLATORS, size)
        _check_network("discriminator", experiment.discriminator, DISCRIMINATORS, size)
        terms = ("adversarial", *TRANSLATORS[name].TERMS)
        if set(experiment.transfer.weights) != set(terms):
            found = ", ".join(experiment.transfer.weights)
            raise ConfigError(f"config.{name}.weights must name {', '.join(terms)}; found {found}")


def _check_folder(side: str, name: str | None, folder: str | None) -> None:
    """Check that a dataset has a folder if, and only if, it is one; whether that is there is for the data to say."""
    if name == FOLDER and not folder:
        raise ConfigError(
            f"config.{side} is {FOLDER!r}, which config.{side}_dir must say where to find; found {folder!r}"
        )
    if name != FOLDER and folder is not None:
        raise ConfigError(f"config.{side}_dir is {folder!r}; with it config.{side} must be {FOLDER!r}, found {name!r}")


def _check_from_scratch(experiment: Experiment) -> None:
    if experiment.label_frac == 0:
        raise ConfigError("config.label_frac must be above 0 for method 'from_scratch', which learns from labels alone")
    if experiment.critic is not None:
        raise ConfigError("config.critic takes part in pre-training, which 'from_scratch' does without: expected None")


def _check_training(path: str, training: SegmenterTraining | Transfer, least_epochs: int = 1) -> None:
    one_of(f"{path}.schedule", training.schedule, SCHEDULES)
    for name, value in dataclasses.asdict(training).items():
        if name in ("epochs", "batch_size"):
            within(f"{path}.{name}", value, least_epochs if name == "epochs" else 1, math.inf)
        elif name in ("average", "beta1", "supervised_beta1"):
            within(f"{path}.{name}", value, 0, 0.99999)
        elif isinstance(value, float):
            within(f"{path}.{name}", value, 0, math.inf)


def _check_transfer(settings: Transfer, translator: str) -> None:
    """Check a transfer, whose weights and image pool a config file has in the section of the translator."""
    _check_training("config.transfer", settings)
    within("config.transfer.warmup_epochs", settings.warmup_epochs, 1, math.inf)
    _check_convergence(settings.convergence)
    within(f"config.{translator}.image_pool", settings.image_pool, 0, math.inf)
    for section, weights in (
        (f"config.{translator}.weights", settings.weights),
        ("config.transfer.supervised_looks", settings.supervised_looks),
    ):
        for name, weight in weights.items():
            within(f"{section}.{name}", weight, 0, math.inf)
    looks = settings.supervised_looks
    if set(looks) != set(LOOKS):
        raise ConfigError(f"config.transfer.supervised_looks must weigh {', '.join(LOOKS)}; found {', '.join(looks)}")
    one_of("config.transfer.target_look", settings.target_look, LOOKS)
    if not looks[settings.target_look]:
        raise ConfigError(
            f"config.transfer.target_look is {settings.target_look!r}, in which M_A does not learn: "
            f"config.transfer.supervised_looks.{settings.target_look} is 0"
        )


def _check_reads_as_is(target_look: str) -> None:
    """Check that the transfer leaves an M_A that reads the target's images as they are: those it will teach itself."""
    if target_look != "b":
        raise ConfigError(
            f"config.transfer.target_look is {target_look!r}: M_A reads translated images, and config.self_training, "
            "which teaches it the images as they are, would lose that; expected 'b' (with supervised_looks.b above 0), "
            "or config.self_training.epochs 0"
        )


def _check_convergence(limits: Convergence) -> None:
    path = "config.transfer.convergence"
    low, high = limits.balance
    within(f"{path}.balance", low, 0, high)
    within(f"{path}.cycle_error", limits.cycle_error, 0, math.inf)
    within(f"{path}.agreement", limits.agreement, 0, 100)
    within(f"{path}.sane", limits.sane, 0, 100)
    within(f"{path}.restarts", limits.restarts, 0, 100)


def _check_augmentation(augmentation: Augmentation) -> None:
    path = "config.augmentation"
    low, high = augmentation.scale
    within(f"{path}.rotation", augmentation.rotation, 0, 180)
    within(f"{path}.scale", low, 0.1, high)
    within(f"{path}.scale", high, low, 10)
    within(f"{path}.shift", augmentation.shift, 0, 1)
    within(f"{path}.crop", augmentation.crop, 0.1, 1)
    within(f"{path}.gamma", augmentation.gamma, 1, 10)
    for name in ("contrast", "brightness", "negation", "effusion"):
        within(f"{path}.{name}", getattr(augmentation, name), 0, 1)


def _check_network(section: str, sizes: Mapping[str, Any], registry: Mapping[str, type], image_size: int) -> None:
    """Check that a network exists, has the sizes that are set, and fits the image size; `section` is the config's."""
    one_of(f"config.{section}.name", sizes.get("name"), registry)
    network = registry[sizes["name"]]
    parameters = inspect.signature(network.__init__).parameters
    known = {name: kind.annotation for name, kind in parameters.items() if name not in ("self", "rngs")}
    for name, value in sizes.items():
        if name != "name" and name not in known:
            raise ConfigError(
                f"config.{section}.{name} is unknown; the sizes of {sizes['name']} are {', '.join(known)}. "
                f"A flag takes no size away: to have another network, set all of config.{section} in a config file"
            )
        if name != "name":
            if type(value) is not known[name]:
                raise ConfigError(f"config.{section}.{name} must be a {known[name].__name__}, found {value!r}")
            within(f"config.{section}.{name}", value, 0 if known[name] is bool else 1, 4096)
    try:
        initialise(network, None, **network_sizes(sizes))
    except ValueError as error:
        raise ConfigError(f"config.{section}: {error}") from error
    multiple = network.size_multiple(**network_sizes(sizes))
    if image_size < 2 * multiple or image_size % multiple:
        raise ConfigError(
            f"config.image_size must be a multiple of {multiple}, at least {2 * multiple}, for {section} "
            f"{sizes['name']!r} with these sizes, found {image_size}"
        )


def one_of(path: str, value: Any, valid: Iterable[str]) -> None:
    """Check a choice; `path` is the field's name."""
    if value not in valid:
        raise ConfigError(f"{path} must be one of {', '.join(valid)}; found {value!r}")


def within(path: str, value: float, low: float, high: float) -> None:
    """Check a number against its bounds, which it may reach; `path` is the field's name."""
    if not low <= value <= high:
        raise ConfigError(f"{path} must be in [{low}, {high}], found {value}")
