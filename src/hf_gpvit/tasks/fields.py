# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the fields of recipes may hold, by their types: as it is written in a file, or given from Python."""

import math
import os
from collections.abc import Iterable
from dataclasses import fields
from difflib import get_close_matches
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..files import is_unicode
from ..plain_yaml import INTEGER, MAX_DEPTH, NUMBER, TRUTH, Written


# Of all numbers: beyond it is a slip, and more than some libraries take.
LIMIT = 2**31


@cache
def field_types(recipe_class: type) -> dict[str, Any]:
    """The type of each field, by name."""
    hints = get_type_hints(recipe_class)
    return {field.name: hints[field.name] for field in fields(recipe_class)}


def fields_from(recipe_class: type, written: dict[str, Any]) -> dict[str, Any]:
    """The values of what `read_yaml` gives, without what is null.

    Raises:
        ValueError: There is no such field, or a value is of another type; the message names the field.
    """
    types = field_types(recipe_class)
    _check_names(types, written)
    values = {name: value for name, value in written.items() if value is not None}
    return {name: typed(name, value, types[name]) for name, value in values.items()}


def typed(name: str, value: Any, kind: Any) -> Any:
    """The value of a field as its type, an annotation, wants it: text is read, a tuple becomes a list.

    Raises:
        ValueError: It can't be such a value; the message names the field.
    """
    try:
        return _typed(value, kind)
    except ValueError as error:
        raise ValueError(f"{name} must be {error}, got {name}={value!r:.200}.") from error


def _check_names(known: Iterable[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
            raise ValueError(f"There is no field {name!r:.80}; {hint}")


def _typed(value: Any, kind: Any) -> Any:
    """Errors say what the value must be."""
    parts = get_args(kind)
    if get_origin(kind) in (Union, UnionType):  # with None
        return None if value is None else _typed(value, parts[0])
    if get_origin(kind) is Literal:
        return _choice(value, parts)
    if get_origin(kind) is list:
        return _list(value, parts[0])
    if get_origin(kind) is dict:
        return _settings(value)
    return _SCALARS[kind](value)


def _choice(value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"one of {', '.join(choices)}")
    return str(value)


def _list(value: Any, kind: Any) -> list:
    values = value if isinstance(value, (list, tuple)) else [value]
    try:
        return [_typed(entry, kind) for entry in values]
    except ValueError as error:
        raise ValueError(f"a list, each {error}") from error


def _integer(value: Any) -> int:
    if isinstance(value, Written) and INTEGER.fullmatch(value) and len(value) < len(str(LIMIT)) + 2:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, Integral) or not abs(value) < LIMIT:
        raise ValueError(f"an integer between {-LIMIT + 1} and {LIMIT - 1}")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, Written) and NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not abs(value) < LIMIT:
        raise ValueError(f"a finite number between {-LIMIT + 1} and {LIMIT - 1}")
    return float(value)


def _truth(value: Any) -> bool:
    if isinstance(value, Written):
        value = TRUTH.get(value.lower())
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _text(value: Any) -> str:
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or "\0" in text or not is_unicode(text):
        raise ValueError("text of whole letters, without null characters")
    return str(text)


def _settings(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("a mapping from names to values")
    return _setting(value)


def _setting(value: Any, depth: int = 0) -> Any:
    """Any value that a file can have."""
    if isinstance(value, Written):
        value = value.value
    if depth > MAX_DEPTH:
        raise ValueError(f"nested at most {MAX_DEPTH} deep")
    if isinstance(value, (list, tuple)):
        return [_setting(entry, depth + 1) for entry in value]
    if isinstance(value, dict):
        return {_text(name): _setting(entry, depth + 1) for name, entry in value.items()}
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError("made of text, finite numbers, true, false and null, and lists and mappings of these")


_SCALARS = {int: _integer, float: _number, bool: _truth, str: _text}
