"""A config, from a file or stored, as an experiment. Whatever a config gets wrong is said here, before any work."""

import dataclasses
import json
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cxr_jax import checks
from cxr_jax.data.augmentation import Augmentation
from cxr_jax.models import TRANSLATORS
from cxr_jax.plans import Experiment, Table1, Table2
from cxr_jax.typed import ConfigError, build

FOLDERS = ("source_dir", "target_dir")
Plan = Experiment | Table1 | Table2
DEFAULTS = {
    field.name: field.default
    for section in (Experiment, Augmentation)
    for field in dataclasses.fields(section)
    if field.default is not dataclasses.MISSING
}

TABLE1_CELL = {  # what Table I's config does not say of an experiment: its grid does, or there is no target
    "method": "segmentation",
    "seed": 0,
    "task": "lungs",
    "target": None,
    "fold": 0,
    "label_frac": 0.0,
    "segmenter": {},
    **{name: DEFAULTS[name] for name in ("critic", "target_dir", "target_in_memory", "adaptation", "self_training")},
    **{name: DEFAULTS[name] for name in ("translator", "discriminator", "transfer")},
}


def parse(config: ConfigDict | Mapping[str, Any]) -> Plan:
    """Return the checked experiment, or grid of experiments, of a config; raise `ConfigError`."""
    plain = _choose_translator(config.to_dict() if isinstance(config, ConfigDict) else dict(config))
    kinds = {"table1": _table1, "table2": _table2}
    return kinds.get(plain.get("method"), _experiment)(plain)


def _experiment(plain: dict[str, Any]) -> Experiment:
    experiment = build(Experiment, plain, "config")
    checks.check_values(experiment)
    checks.check_networks(experiment)
    if experiment.self_training is not None and not experiment.self_training.epochs:
        return dataclasses.replace(experiment, self_training=None)
    return experiment


def _table1(plain: dict[str, Any]) -> Table1:
    own, common = _own_and_common(Table1, plain)
    fields = [field.name for field in dataclasses.fields(Experiment) if field.name not in TABLE1_CELL]
    for name in common:
        if name not in fields:
            raise ConfigError(f"config.{name} is unknown; the fields of config are {', '.join([*own, *fields])}")
    experiment = build(Experiment, TABLE1_CELL | common, "config")
    table = build(Table1, own | {"experiment": experiment}, "config")
    _check_grid(table, ("segmenters", "tasks", "folds", "seeds"))
    for field in ("critics", "only"):
        for name in getattr(table, field):
            checks.one_of(f"config.{field}", name, table.segmenters)
    if table.only:
        table = dataclasses.replace(table, segmenters={name: table.segmenters[name] for name in table.only})
    cells = table.experiments().values()
    for experiment in cells:
        checks.check_values(experiment)
    for experiment in {cell.segmenter["name"]: cell for cell in cells}.values():
        checks.check_networks(experiment)
    return table


def _table2(plain: dict[str, Any]) -> Table2:
    own, common = _own_and_common(Table2, plain)
    experiment = _experiment({"seed": 0, "label_frac": 0.0, **common, "method": "transfer"})
    table = build(Table2, own | {"experiment": experiment}, "config")
    _check_grid(table, ("methods", "label_fracs", "seeds"))
    for method in table.methods:
        checks.one_of("config.methods", method, checks.TO_TARGET)
    if table.experiment.task in table.qualitative:
        raise ConfigError(f"config.qualitative must not name config.task, {table.experiment.task!r}, too")
    if table.qualitative and "transfer" not in table.methods:
        raise ConfigError(
            "config.qualitative names organs that go on from the translator that transfers of config.task warm up: "
            "expected 'transfer' among config.methods; add it, or give --config.qualitative=\"()\""
        )
    cells = table.experiments()
    if not cells:
        raise ConfigError("config.methods and config.label_fracs leave no cell: nothing is learned from scratch at 0 %")
    for experiment in cells.values():
        checks.check_values(experiment)
    return table


def _own_and_common(kind: type, plain: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a table's own fields in its config, and those of its experiment, which stand beside them."""
    names = {field.name for field in dataclasses.fields(kind)} - {"experiment"}
    own = {name: value for name, value in plain.items() if name in names}
    return own, {name: value for name, value in plain.items() if name not in names}


def _check_grid(table: Table1 | Table2, axes: Sequence[str]) -> None:
    """Check that each axis of a grid names something, and nothing twice."""
    for name in axes:
        values = getattr(table, name)
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"config.{name} must name at least one, and each once; found {values!r}")
    checks.within("config.together", table.together, 1, math.inf)


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
    checks.one_of("config.translator.name", name, sections)
    section = dict(sections[name])
    chosen = {field: section.pop(field) for field in ("weights", "image_pool") if field in section}
    return plain | {
        "translator": {**plain["translator"], **section},
        "transfer": {**plain["transfer"], **chosen},
    }


def to_json(experiment: Plan) -> dict[str, Any]:
    """Return the experiment as JSON values, the form in which configs are stored and compared."""
    return json.loads(json.dumps(dataclasses.asdict(experiment)))


def differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "config") -> list[str]:
    """Return a line `field: value / other value` for each field in which two stored configs differ.

    A field that one of them is older than has its default there; a folder may be written in several ways.
    """
    lines = []
    for name in sorted({*one, *other}):
        left, right = (_comparable(name, stored.get(name, DEFAULTS.get(name))) for stored in (one, other))
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            lines += differences(left, right, f"{path}.{name}")
        elif left != right:
            lines.append(f"{path}.{name}: {left!r} / {right!r}")
    return lines


def _comparable(name: str, value: Any) -> Any:
    return os.path.normpath(value) if name in FOLDERS and value else value
