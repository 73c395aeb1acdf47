"""An experiment, or a grid of them, as typed values: what a config says once it has been checked."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cxr_jax.data.augmentation import Augmentation
from cxr_jax.data.look import Look


@dataclass(frozen=True)
class SegmenterTraining:
    """How a segmenter learns from labels alone (paper, section V-B)."""

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
class Convergence:
    """When a transfer counts as converged (`cxr_jax.convergence` says what is measured), and what follows if not."""

    cycle_error: float  # at most
    balance: tuple[float, float]  # from, to
    agreement: float  # at least, in percent
    sane: float  # at least, in percent
    restarts: int  # of warm-up and of transfer, each from other random numbers


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
    # Weights of the looks ("a", "b") in which M_A learns; the paper: a alone. Adam takes no notice of a common factor:
    # it is the learning rate that says how strong supervision is.
    supervised_looks: Mapping[str, float]
    convergence: Convergence
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
    negated: tuple[str, ...]  # datasets whose images are shown as negatives: bones dark
    fold: int
    label_frac: float
    segmenter: Mapping[str, Any]
    augmentation: Augmentation
    pretraining: SegmenterTraining  # of M_A, on the source
    critic: Critic | None = None  # takes part in the pre-training
    translator: Mapping[str, Any] | None = None
    discriminator: Mapping[str, Any] | None = None
    transfer: Transfer | None = None
    adaptation: SegmenterTraining | None = None  # to the target's labels: fine-tuning, from scratch
    self_training: SegmenterTraining | None = None  # of M_A on its own masks of the target
    source_dir: str | None = None  # the folder of a source, and
    target_dir: str | None = None  # that of a target, that is a `radiograph_folder`
    precision: str = "float32"  # in which networks compute; their weights and statistics always have 32 bits
    target_in_memory: int = 4096  # images at most; those of a larger target stream while the transfer trains
    tones: str = "stretched"  # of all images: from black to white, or "equalised"
    ensemble: int = 1  # networks whose mean M_A is
    test_time_augmentation: bool = False  # whether a restored model's masks are means over views of an image

    def look(self, dataset: str) -> Look:
        """Return how the images of a dataset are shown."""
        return Look(self.image_size, self.trim, dataset in self.negated, self.tones)

    @property
    def augments(self) -> Augmentation:
        """What is drawn for training images: no effusions where masks are of other organs, not of lungs."""
        return self.augmentation if self.task == "lungs" else replace(self.augmentation, effusion=0.0)

    @property
    def stages(self) -> tuple[str, ...]:
        """The names of the stages of training, in turn; the model of the last one is the outcome."""
        first = () if self.method == "from_scratch" else ("pretraining",)
        between = ("warmup", "transfer") if self.method == "transfer" else ()
        adapts = self.method == "from_scratch" or (self.method == "fine_tuning" and self.label_frac > 0)
        last = ("adaptation",) if adapts else ("self_training",) if self.trains_itself else ()
        return (*first, *between, *last)

    @property
    def trains_itself(self) -> bool:
        """Whether M_A learns on its own masks of the target, after the transfer or without one."""
        return self.method in ("transfer", "self_training") and self.self_training is not None

    def learned_from(self, stage: str) -> tuple[str, ...]:
        """Return the datasets whose images the segmenter of a stage has learned from."""
        source = () if self.method == "from_scratch" else (self.source,)
        return source if stage == "pretraining" else (*source, self.target)

    def settings(self, stage: str) -> SegmenterTraining | Transfer | None:
        """Return how a stage trains.

        Beside labels of the target, self-training is as long and fast as adaptation, and its batches are adaptation's
        with as many images more: it learns from each label as often.
        """
        if stage == "self_training" and self.label_frac > 0:
            pace = {name: getattr(self.adaptation, name) for name in ("epochs", "learning_rate")}
            return replace(self.self_training, **pace, batch_size=2 * self.adaptation.batch_size)
        return getattr(self, stage)


@dataclass(frozen=True)
class Table1:
    """Every segmenter on every task in every fold (paper, section VI-A): a grid of experiments."""

    method: str
    protocol: str  # what the rows are called: rows of different protocols are never mixed
    segmenters: Mapping[str, Mapping[str, Any]]  # sizes by name
    only: tuple[str, ...]  # which of them a config asked for; empty: all
    tasks: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    critics: Mapping[str, Critic]  # by the names of the segmenters that learn against one
    together: int  # cells of a segmenter that train at once, over the leading axis of one program; on a CPU always 1
    experiment: Experiment  # from which every cell differs in segmenter and critic, task, fold and seed

    @staticmethod
    def folder(segmenter: str, task: str, fold: int, seed: int) -> str:
        """Return the name of a cell's folder."""
        return f"{segmenter}/{task}_fold{fold}_seed{seed}"

    def experiments(self) -> dict[str, Experiment]:
        """Return the experiment of each cell of the grid by the name of its folder."""
        cells = {}
        for name, sizes in self.segmenters.items():
            of_name = replace(self.experiment, segmenter={"name": name, **sizes}, critic=self.critics.get(name))
            for task, fold, seed in itertools.product(self.tasks, self.folds, self.seeds):
                cells[self.folder(name, task, fold, seed)] = replace(of_name, task=task, fold=fold, seed=seed)
        return cells


@dataclass(frozen=True)
class Table2:
    """The method and what it is compared with, at every label fraction (paper, section VI-B): a grid of experiments."""

    method: str
    protocol: str
    methods: tuple[str, ...]
    label_fracs: tuple[float, ...]
    qualitative: tuple[str, ...]  # tasks that the target has no labels for: transferred without, judged by plausibility
    seeds: tuple[int, ...]
    together: int  # cells of a method that train at once, over the leading axis of one program; on a CPU always 1
    experiment: Experiment  # the transfer without labels, from which every cell differs in method, labels and seed

    def starts(self) -> dict[int, Experiment]:
        """Return for each seed the experiment whose M_A and warmed-up translator all cells of that seed go on from.

        It says nothing of adaptation and self-training: a workdir's start serves other settings of those stages too.
        """
        return {seed: replace(self.experiment, seed=seed, adaptation=None, self_training=None) for seed in self.seeds}

    def experiments(self) -> dict[str, Experiment]:
        """Return the experiment of each cell of the grid by the name of its folder; no label, nothing from scratch."""
        cells = {}
        for seed in self.seeds:
            of_seed = replace(self.experiment, seed=seed)
            for method, label_frac in itertools.product(self.methods, self.label_fracs):
                if method != "from_scratch" or label_frac > 0:
                    cell = replace(of_seed, method=method, label_frac=label_frac)
                    cells[f"seed{seed}/{method}_{100 * label_frac:g}"] = cell
            cells |= {f"seed{seed}/{task}": replace(of_seed, task=task) for task in self.qualitative}
        return cells


def network_sizes(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sizes of a network's section, without its name."""
    return {name: value for name, value in section.items() if name != "name"}
