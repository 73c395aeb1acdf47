"""An experiment as checked, typed values. Whatever a config gets wrong is said here, before any work."""

import dataclasses
import inspect
import itertools
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flax import nnx
from ml_collections import ConfigDict

from cxr_jax.data.augmentation import Augmentation
from cxr_jax.data.radiographs import DATASETS, TASKS
from cxr_jax.data.splits import FOLDS
from cxr_jax.models import CRITICS, DISCRIMINATORS, SEGMENTERS, TRANSLATORS
from cxr_jax.typed import ConfigError, build

METHODS = ("segmentation", "transfer", "table1")
SCHEDULES = ("constant", "cosine")
LOOKS = ("a", "b")


@dataclass(frozen=True)
class Pretraining:
    """How M_A learns on the source (paper, section V-B)."""

    epochs: int
    batch_size: int
    learning_rate: float
    beta1: float
    weight_decay: float
    schedule: str
    average: float  # decay of the moving average of weights that is tested; 0 tests the weights themselves


@dataclass(frozen=True)
class Critic:
    """What a segmenter learns against, beside its labels (SCAN, Dai et al. 2018)."""

    name: str
    width: int
    weight: float  # of the critic's verdict in the segmenter's loss
    learning_rate: float


@dataclass(frozen=True)
class Transfer:
    """How the three steps alternate (paper, sections IV-C and V-C)."""

    warmup_epochs: int  # without the supervised step
    epochs: int  # with it
    batch_size: int
    learning_rate: float  # of translators and discriminators
    beta1: float
    weight_decay: float
    supervised_learning_rate: float
    supervised_beta1: float
    supervised_weight_decay: float
    schedule: str
    average: float
    weights: Mapping[str, float]  # of the generative step's terms
    supervised_looks: Mapping[str, float]  # weights of the looks ("a", "b") in which M_A learns; the paper: a alone
    image_pool: int  # translated images a discriminator remembers (CycleGAN: 50); 0 shows it only fresh ones
    target_look: str  # in which M_A segments a target image; the paper: a, translated


@dataclass(frozen=True)
class Experiment:
    """One run of `main.py`."""

    method: str
    seed: int
    task: str
    source: str
    target: str | None  # None: the segmenter is tested on the source alone
    image_size: int
    trim: bool  # whether the images' black frames are cut off first
    fold: int
    label_frac: float
    segmenter: Mapping[str, Any]
    augmentation: Augmentation
    pretraining: Pretraining
    critic: Critic | None = None  # takes part in the pre-training
    translator: Mapping[str, Any] | None = None
    discriminator: Mapping[str, Any] | None = None
    transfer: Transfer | None = None


@dataclass(frozen=True)
class Table1:
    """Every segmenter on every task in every fold (paper, section VI-A): a grid of experiments."""

    method: str
    protocol: str  # what the rows are called: rows of different protocols are never mixed
    source: str
    image_size: int
    trim: bool
    segmenters: Mapping[str, Mapping[str, Any]]  # sizes by name
    tasks: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    augmentation: Augmentation
    pretraining: Pretraining
    critics: Mapping[str, Critic]  # by the names of the segmenters that learn against one
    together: int  # cells of a segmenter that train at once, over the leading axis of one program; on a CPU always 1

    def experiments(self) -> dict[str, Experiment]:
        """Return the experiment of each cell of the grid by the name of its folder."""
        return {
            f"{name}/{task}_fold{fold}_seed{seed}": Experiment(
                method="segmentation",
                seed=seed,
                task=task,
                source=self.source,
                target=None,
                image_size=self.image_size,
                trim=self.trim,
                fold=fold,
                label_frac=0.0,
                segmenter={"name": name, **sizes},
                augmentation=self.augmentation,
                pretraining=self.pretraining,
                critic=self.critics.get(name),
            )
            for name, sizes in self.segmenters.items()
            for task, fold, seed in itertools.product(self.tasks, self.folds, self.seeds)
        }


def parse(config: ConfigDict | Mapping[str, Any]) -> Experiment | Table1:
    """Return the checked experiment, or grid of experiments, of a config; raise `ConfigError`."""
    plain = _choose_translator(config.to_dict() if isinstance(config, ConfigDict) else dict(config))
    if plain.get("method") != "table1":
        experiment = build(Experiment, plain, "config")
        _check(experiment)
        _check_networks(experiment)
        return experiment
    table = build(Table1, plain, "config")
    for name in ("segmenters", "tasks", "folds", "seeds"):
        values = getattr(table, name)
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"config.{name} must name at least one, and each once; found {values!r}")
    for name in table.critics:
        _one_of("config.critics", name, table.segmenters)
    _within("config.together", table.together, 1, math.inf)
    cells = table.experiments().values()
    for experiment in cells:
        _check(experiment)
    for experiment in {cell.segmenter["name"]: cell for cell in cells}.values():
        _check_networks(experiment)
    return table


def _choose_translator(plain: dict[str, Any]) -> dict[str, Any]:
    """Put the sizes, weights and image pool of the translator that is named where an experiment has them.

    A config file has a section for each translator, of which `translator.name` chooses one; a stored config has but
    the chosen one's.
    """
    sections = {name: plain.pop(name) for name in TRANSLATORS if name in plain}
    if not sections:
        return plain
    for part in ("translator", "transfer"):
        if not isinstance(plain.get(part), Mapping):
            raise ConfigError(f"config.{part} is missing; method 'transfer' needs it")
    name = plain["translator"].get("name")
    _one_of("config.translator.name", name, sections)
    section = dict(sections[name])
    chosen = {field: section.pop(field) for field in ("weights", "image_pool") if field in section}
    return plain | {
        "translator": {**plain["translator"], **section},
        "transfer": {**plain["transfer"], **chosen},
    }


def to_json(experiment: Experiment | Table1) -> dict[str, Any]:
    """Return the experiment as JSON values, the form in which configs are stored and compared."""
    return json.loads(json.dumps(dataclasses.asdict(experiment)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "config") -> list[str]:
    """Return a line `field: value / other value` for each field in which two stored configs differ."""
    lines = []
    for name in sorted({*one, *other}):
        left, right = one.get(name), other.get(name)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += differences(left, right, f"{path}.{name}")
        elif left != right:
            lines.append(f"{path}.{name}: {left!r} / {right!r}")
    return lines


def _check(experiment: Experiment) -> None:
    """Raise `ConfigError` for the first value outside the networks that cannot be run."""
    _one_of("config.method", experiment.method, METHODS)
    _one_of("config.task", experiment.task, TASKS)
    _one_of("config.source", experiment.source, DATASETS)
    if experiment.target is not None or experiment.method == "transfer":
        _one_of("config.target", experiment.target, DATASETS)
    _within("config.label_frac", experiment.label_frac, 0, 1)
    _within("config.fold", experiment.fold, 0, FOLDS - 1)
    _within("config.seed", experiment.seed, 0, 2**31 - 1)
    _check_augmentation(experiment.augmentation)
    _check_training("config.pretraining", experiment.pretraining)
    if experiment.critic is not None:
        _within("config.critic.weight", experiment.critic.weight, 0, math.inf)
        _within("config.critic.learning_rate", experiment.critic.learning_rate, 0, math.inf)
    if experiment.method == "transfer":
        for name in ("translator", "discriminator", "transfer"):
            if getattr(experiment, name) is None:
                raise ConfigError(f"config.{name} is missing; method 'transfer' needs it")
        _check_transfer(experiment.transfer)


def _check_networks(experiment: Experiment) -> None:
    """Raise `ConfigError` for the first network that cannot be made, and for weights of terms it does not have."""
    size, critic = experiment.image_size, experiment.critic
    _check_network("segmenter", experiment.segmenter, SEGMENTERS, size)
    if critic is not None:
        _check_network("critic", {"name": critic.name, "width": critic.width}, CRITICS, size)
    if experiment.method == "transfer":
        _check_network("translator", experiment.translator, TRANSLATORS, size)
        _check_network("discriminator", experiment.discriminator, DISCRIMINATORS, size)
        terms = ("adversarial", *TRANSLATORS[experiment.translator["name"]].TERMS)
        if set(experiment.transfer.weights) != set(terms):
            found = ", ".join(experiment.transfer.weights)
            raise ConfigError(f"config.transfer.weights must name {', '.join(terms)}; found {found}")


def _check_training(path: str, training: Pretraining | Transfer) -> None:
    _one_of(f"{path}.schedule", training.schedule, SCHEDULES)
    for name, value in dataclasses.asdict(training).items():
        if name in ("epochs", "batch_size"):
            _within(f"{path}.{name}", value, 1, math.inf)
        elif name in ("average", "beta1", "supervised_beta1"):
            _within(f"{path}.{name}", value, 0, 0.99999)
        elif isinstance(value, float):
            _within(f"{path}.{name}", value, 0, math.inf)


def _check_transfer(settings: Transfer) -> None:
    _check_training("config.transfer", settings)
    _within("config.transfer.warmup_epochs", settings.warmup_epochs, 1, math.inf)
    for section in ("weights", "supervised_looks"):
        for name, weight in getattr(settings, section).items():
            _within(f"config.transfer.{section}.{name}", weight, 0, math.inf)
    looks = settings.supervised_looks
    if set(looks) != set(LOOKS):
        raise ConfigError(f"config.transfer.supervised_looks must weigh {', '.join(LOOKS)}; found {', '.join(looks)}")
    _one_of("config.transfer.target_look", settings.target_look, LOOKS)
    if not looks[settings.target_look]:
        raise ConfigError(
            f"config.transfer.target_look is {settings.target_look!r}, in which M_A does not learn: "
            f"config.transfer.supervised_looks.{settings.target_look} is 0"
        )


def _check_augmentation(augmentation: Augmentation) -> None:
    path = "config.augmentation"
    low, high = augmentation.scale
    _within(f"{path}.rotation", augmentation.rotation, 0, 180)
    _within(f"{path}.scale", low, 0.1, high)
    _within(f"{path}.scale", high, low, 10)
    _within(f"{path}.shift", augmentation.shift, 0, 1)
    _within(f"{path}.crop", augmentation.crop, 0.1, 1)
    _within(f"{path}.gamma", augmentation.gamma, 1, 10)
    for name in ("contrast", "brightness", "negation"):
        _within(f"{path}.{name}", getattr(augmentation, name), 0, 1)


def _check_network(part: str, sizes: Mapping[str, Any], registry: Mapping[str, type], image_size: int) -> None:
    """Check that a network exists, has the sizes that are set, and fits the image size."""
    _one_of(f"config.{part}.name", sizes.get("name"), registry)
    network = registry[sizes["name"]]
    known = [name for name in inspect.signature(network.__init__).parameters if name not in ("self", "rngs")]
    for name, value in sizes.items():
        if name != "name" and name not in known:
            raise ConfigError(f"config.{part}.{name} is unknown; the sizes of {sizes['name']} are {', '.join(known)}")
        if name != "name":
            if type(value) is not int:
                raise ConfigError(f"config.{part}.{name} must be a int, found {value!r}")
            _within(f"config.{part}.{name}", value, 1, 4096)
    try:
        nnx.eval_shape(lambda: network(**network_sizes(sizes), rngs=nnx.Rngs(0)))
    except ValueError as error:
        raise ConfigError(f"config.{part}: {error}") from error
    multiple = network.size_multiple(**network_sizes(sizes))
    if image_size < 2 * multiple or image_size % multiple:
        raise ConfigError(
            f"config.image_size must be a multiple of {multiple}, at least {2 * multiple}, for {part} "
            f"{sizes['name']!r} with these sizes, found {image_size}"
        )


def network_sizes(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of a network's section, without its name."""
    return {name: value for name, value in section.items() if name != "name"}


def _one_of(path: str, value: Any, valid: Iterable[str]) -> None:
    if value not in valid:
        raise ConfigError(f"{path} must be one of {', '.join(valid)}; found {value!r}")


def _within(path: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{path} must be in [{low}, {high}], found {value}")
