"""Plain mappings to dataclasses: names and types of fields are checked, and whatever is wrong is said."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from cxr_jax.errors import UserError


class ConfigError(UserError):
    """A config that cannot be run; the message names the field, what was found and what is valid."""


def build(kind: type, values: Any, path: str) -> Any:
    """Make dataclass `kind` of a mapping, checking names and types of its fields."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path} must hold the fields of {kind.__name__}, found {values!r}")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    for name in values:
        if name not in fields:
            raise ConfigError(f"{path}.{name} is unknown; the fields of {path} are {', '.join(fields)}")
    required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
    for name in required:
        if name not in values:
            raise ConfigError(f"{path}.{name} is missing; it is a {hints[name]}")
    return kind(**{name: _convert(hints[name], value, f"{path}.{name}") for name, value in values.items()})


def _convert(hint: Any, value: Any, path: str) -> Any:
    """Return `value` as type `hint`, where that loses nothing."""
    if isinstance(hint, types.UnionType):
        return None if value is None else _convert(typing.get_args(hint)[0], value, path)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build(hint, value, path)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        any_length = arguments[-1] is Ellipsis
        if not isinstance(value, list | tuple) or not (any_length or len(value) == len(arguments)):
            raise ConfigError(
                f"{path} must be {'a tuple' if any_length else f'{len(arguments)} numbers'}, found {value!r}"
            )
        parts = [arguments[0]] * len(value) if any_length else arguments
        return tuple(_convert(part, item, path) for part, item in zip(parts, value, strict=True))
    if origin is not None:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{path} must be a mapping, found {value!r}")
        return {name: _convert(arguments[1], item, f"{path}.{name}") for name, item in value.items()}
    if hint is Any or (type(value) is hint and value == value):
        return value
    if hint is float and type(value) is int:
        return float(value)
    raise ConfigError(f"{path} must be a {hint.__name__}, found {value!r}")
