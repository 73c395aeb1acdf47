"""Configs: the shipped ones are valid, every wrong one is told."""

import dataclasses
import math

import pytest

from configs import best, segmentation, table1, table2, transfer
from cxr_jax import config
from tests import tiny


@pytest.mark.parametrize("preset", segmentation.PRESETS)
@pytest.mark.parametrize("module", [segmentation, transfer])
def test_shipped_configs_are_valid_and_survive_json(module, preset):
    experiment = config.parse(module.get_config(preset))
    stored = config.to_json(experiment)
    assert config.parse(stored) == experiment
    assert config.differences(stored, stored) == []


@pytest.mark.parametrize(
    ("changes", "stages"),
    [
        ({"method": "segmentation"}, ("pretraining",)),
        ({}, ("pretraining", "warmup", "transfer", "self_training")),
        ({"self_training__epochs": 0}, ("pretraining", "warmup", "transfer")),
        ({"method": "self_training"}, ("pretraining", "self_training")),
        ({"method": "fine_tuning"}, ("pretraining",)),  # without labels it is M_A as it is
        ({"method": "fine_tuning", "label_frac": 0.1}, ("pretraining", "adaptation")),
        ({"method": "from_scratch", "label_frac": 0.1}, ("adaptation",)),
    ],
)
def test_an_experiment_has_the_stages_of_its_method(changes, stages):
    assert tiny.experiment(**changes).stages == stages


@pytest.mark.parametrize("preset", best.PRESETS)
def test_the_best_is_a_transfer_that_equalises_tones_and_needs_no_label(preset):
    experiment = config.parse(best.get_config(preset))
    assert (experiment.method, experiment.tones, experiment.label_frac) == ("transfer", "equalised", 0.0)
    assert experiment.test_time_augmentation
    assert experiment.trains_itself
    assert experiment.augmentation.moves
    assert experiment.augments.effusion == 0.3
    with pytest.raises(ValueError, match=r"unknown preset 'tiny': expected one of small, phantom, or none"):
        best.get_config("tiny")


def test_effusions_are_drawn_in_lungs_alone():
    plain = best.get_config("small")
    plain.negated = ("radiograph_folder", "phantom/a")  # a folder of negatives is put right so; no phantom is shown
    assert config.parse(plain).augments.effusion == 0.3
    plain.negated = ("jsrt",)
    with pytest.raises(config.ConfigError, match=r"fluid bright.*config.negated has bones dark in jsrt: expected"):
        config.parse(plain)
    plain.task = "heart"
    experiment = config.parse(plain)
    assert experiment.augments == dataclasses.replace(experiment.augmentation, effusion=0.0)


def test_an_ensemble_has_no_critic():
    scan = next(cell for name, cell in config.parse(table1.get_config()).experiments().items() if "scan" in name)
    with pytest.raises(config.ConfigError, match=r"config.ensemble is 2: a segmenter .* config.critic .* expected 1"):
        config.parse(config.to_json(dataclasses.replace(scan, ensemble=2)))


def test_what_a_method_would_not_look_at_is_refused():
    with pytest.raises(config.ConfigError, match=r"config.label_frac is 0.5; method 'segmentation' .* expected 0.0"):
        config.parse(segmentation.get_config().to_dict() | {"label_frac": 0.5})
    critic = {"name": "scan", "width": 8, "weight": 0.01, "learning_rate": 1e-4}
    scratch = transfer.get_config().to_dict() | {"method": "from_scratch", "label_frac": 0.5, "critic": critic}
    with pytest.raises(config.ConfigError, match=r"config.critic takes part in pre-training.*expected None"):
        config.parse(scratch)


def test_the_paper_protocol_is_the_default():
    experiment = config.parse(transfer.get_config())
    assert (experiment.source, experiment.target, experiment.image_size) == ("jsrt", "montgomery", 256)
    assert experiment.transfer.warmup_epochs == 20
    training = experiment.pretraining
    assert (training.epochs, training.batch_size, training.learning_rate, training.weight_decay) == (150, 4, 1e-4, 5e-4)
    assert not experiment.augmentation.moves
    assert not experiment.augmentation.recolours
    assert experiment.tones == "stretched"
    assert not experiment.test_time_augmentation
    assert experiment.ensemble == 1


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("label_frac", 7.0, r"config.label_frac must be in \[0, 1\], found 7.0"),
        ("label_frac", -1.0, "config.label_frac must be in"),
        ("label_frac", math.nan, "config.label_frac must be a float, found nan"),
        ("augmentation.effusion", 1.5, r"config.augmentation.effusion must be in \[0, 1\]"),
        ("label_frac", "half", "config.label_frac must be a float, found 'half'"),
        ("source", "jrst", "config.source must be one of jsrt, montgomery"),
        ("target", "hospital", "config.target must be one of jsrt, montgomery"),
        ("precision", "float16", "config.precision must be one of float32, bfloat16; found 'float16'"),
        ("task", "lung", "config.task must be one of lungs, heart, clavicles; found 'lung'"),
        ("method", "magic", "config.method must be one of segmentation, transfer"),
        ("target_in_memory", 4, r"config.target_in_memory must be in \[5, inf\], found 4"),
        ("ensemble", 0, r"config.ensemble must be in \[1, 16\], found 0"),
        ("fold", 5, r"config.fold must be in \[0, 4\]"),
        ("image_size", 100, "config.image_size must be a multiple of 16, at least 32, for segmenter 'unet'"),
        ("image_size", 16, "config.image_size must be a multiple of 16, at least 32"),
        ("segmenter.name", "vnet", "config.segmenter.name must be one of unet, fcn, .*; found 'vnet'"),
        ("segmenter.wdith", 8, "config.segmenter.wdith is unknown; the sizes of unet are width, depth"),
        ("segmenter.width", 0, r"config.segmenter.width must be in \[1, 4096\], found 0"),
        ("segmenter.width", 12, "must be a multiple of 8"),
        (
            "translator.name",
            "pix2pix",
            "config.translator.name must be one of munit, munit_dataset_style, unit, cyclegan; found 'pix2pix'",
        ),
        ("munit.width", 1.5, "config.munit.width must be a int, found 1.5"),
        ("segmenter", {"name": "fcn", "width": 64, "batch_norm": 1}, "segmenter.batch_norm must be a bool, found 1"),
        ("self_training.epochs", 5, "which teaches it the images as they are, would lose that; expected 'b'"),
        ("pretraining.epochs", 0, "config.pretraining.epochs must be in"),
        ("pretraining.schedule", "linear", "config.pretraining.schedule must be one of constant, cosine"),
        ("transfer.warmup_epochs", 0, "config.transfer.warmup_epochs must be in"),
        ("transfer.average", 1.0, "config.transfer.average must be in"),
        ("munit.weights.cycle", -1.0, "config.munit.weights.cycle must be in"),
        ("transfer.supervised_looks.b", -1.0, "config.transfer.supervised_looks.b must be in"),
        ("transfer.supervised_looks.c", 1.0, "config.transfer.supervised_looks must weigh a, b; found"),
        ("transfer.target_look", "c", "config.transfer.target_look must be one of a, b; found 'c'"),
        ("transfer.target_look", "b", "config.transfer.supervised_looks.b is 0"),
        ("munit.weights.cylce", 1.0, "config.munit.weights must name"),
        ("augmentation.scale", (1.2, 0.8), "config.augmentation.scale must be in"),
        ("augmentation.scale", 0.8, "config.augmentation.scale must be 2 numbers"),
        ("tones", "flat", "config.tones must be one of stretched, equalised; found 'flat'"),
        ("negated", ("jrst",), "config.negated must be one of jsrt, montgomery"),
        ("target", "radiograph_folder", "config.target is 'radiograph_folder', which config.target_dir must say where"),
        ("source", "radiograph_folder", "config.source is 'radiograph_folder', which config.source_dir must say where"),
        (
            "target_dir",
            "/x",
            "config.target_dir is '/x'; with it config.target must be 'radiograph_folder', found 'mon",
        ),
        (
            "source_dir",
            "/x",
            "config.source_dir is '/x'; with it config.source must be 'radiograph_folder', found 'jsr",
        ),
        ("target_dir", 3, "config.target_dir must be a str, found 3"),
        ("colour", 3, "config.colour is unknown; the fields of config are method, seed"),
    ],
)
def test_every_wrong_value_is_named(path, value, message):
    wrong = transfer.get_config().to_dict()
    *parents, last = path.split(".")
    section = wrong
    for name in parents:
        section = section[name]
    section[last] = value
    with pytest.raises(config.ConfigError, match=message):
        config.parse(wrong)


def test_missing_parts_are_named():
    without = transfer.get_config().to_dict()
    del without["translator"]
    with pytest.raises(config.ConfigError, match=r"config.translator is missing; method 'transfer' needs it"):
        config.parse(without)
    with pytest.raises(config.ConfigError, match=r"config.self_training.epochs must be in \[1, inf\], found 0"):
        config.parse(transfer.get_config().to_dict() | {"method": "self_training"})
    look = transfer.get_config("look").to_dict() | {"label_frac": 0.1}
    beside_labels = config.parse(look).settings("self_training")
    assert (beside_labels.epochs, beside_labels.learning_rate) == (150, config.parse(look).adaptation.learning_rate)
    assert beside_labels.batch_size == 2 * config.parse(look).adaptation.batch_size
    assert (beside_labels.average, beside_labels.schedule) == (0.99, "cosine")  # it stays a mean teacher
    assert config.parse(look | {"label_frac": 0.0}).settings("self_training").epochs == 20
    with pytest.raises(config.ConfigError, match=r"config.self_training.batch_size must be in \[2, inf\], found 1"):
        config.parse(look | {"self_training": look["self_training"] | {"batch_size": 1}})
    without = dict(look)
    del without["adaptation"]
    with pytest.raises(config.ConfigError, match=r"config.adaptation is missing; self-training beside labels"):
        config.parse(without)
    without = transfer.get_config().to_dict()
    del without["seed"]
    with pytest.raises(config.ConfigError, match=r"config.seed is missing"):
        config.parse(without)


def test_a_folder_may_be_written_in_several_ways():
    one, *others = ({"target_dir": name, "source_dir": None} for name in ("a/b", "a/b/", "./a//b", "a/c"))
    assert [config.differences(one, other) for other in others] == [[], [], ["config.target_dir: 'a/b' / 'a/c'"]]


def test_differences_name_the_fields():
    one = config.to_json(config.parse(transfer.get_config()))
    other = config.to_json(config.parse(transfer.get_config("phantom")))
    lines = config.differences(one, other)
    assert "config.source: 'jsrt' / 'phantom/a'" in lines
    assert any(line.startswith("config.transfer.epochs: ") for line in lines)


def test_unknown_preset():
    with pytest.raises(ValueError, match=r"unknown preset 'tiny'"):
        transfer.get_config("tiny")


def test_a_folder_is_named_in_every_config():
    for module in (segmentation, transfer, table2):
        plain = module.get_config("phantom")
        plain.update(target="radiograph_folder", target_dir="/images")
        plan = config.parse(plain)
        cells = plan.experiments().values() if module is table2 else [plan]
        assert {(cell.source_dir, cell.target_dir) for cell in cells} == {(None, "/images")}
    plain = table1.get_config("phantom")
    plain.update(source="radiograph_folder", source_dir="/images")
    assert {cell.source_dir for cell in config.parse(plain).experiments().values()} == {"/images"}
    plain.source = "phantom/a"
    with pytest.raises(config.ConfigError, match=r"config.source_dir is '/images'; with it config.source must be"):
        config.parse(plain)


def test_a_config_from_before_there_were_folders_and_streams_is_one_without():
    stored = config.to_json(config.parse(transfer.get_config()))
    newer = ("source_dir", "target_dir", "target_in_memory", "tones", "ensemble", "test_time_augmentation")
    older = {name: value for name, value in stored.items() if name not in newer}
    older["augmentation"] = {name: value for name, value in older["augmentation"].items() if name != "effusion"}
    assert config.differences(older, stored) == []
    assert config.parse(older) == config.parse(stored)
    assert config.differences(older, stored | {"target_in_memory": 9}) == ["config.target_in_memory: 4096 / 9"]
