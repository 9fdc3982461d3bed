# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""YAML as people write recipes: scalars stay as they are written, and no file takes long or much memory."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .files import one_line


MAX_BYTES = 2**20  # 20,000 names of classes are less than half of it
MAX_DEPTH = 20

INTEGER = re.compile(r"[-+]?(0|[1-9]\d*)", re.ASCII)  # to some, numbers that begin with 0 are octal
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
TRUTH = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_NULL = ("", "~", "null")

# libyaml's is ten times as fast; not every platform has it
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Written(str):
    """A scalar as it is written.

    Attributes:
        is_quoted: Whether it was in quotes, or in a block of text. Default False.
    """

    is_quoted = False

    @property
    def is_null(self) -> bool:
        return not self.is_quoted and self.lower() in _NULL

    @property
    def value(self) -> str | int | float | bool | None:
        """What it stands for on its own: a number, true or false, null, or else, and where it is quoted, itself."""
        word = self.lower()
        if self.is_quoted:
            return str(self)
        if self.is_null:
            return None
        if word in TRUTH:
            return TRUTH[word]
        if INTEGER.fullmatch(self):
            return int(self)
        is_number = NUMBER.fullmatch(self) and not self.lstrip("+-").isdecimal()
        return float(self) if is_number else str(self)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a file: `Written` scalars, lists, dicts, and None for a null; nothing is an empty mapping.

    Null within a list is a `Written` one, since it may be a name there.

    Raises:
        OSError: It can't be read.
        ValueError: It is no YAML mapping, larger than MAX_BYTES or deeper than MAX_DEPTH, or has a key twice, anchors,
            aliases or tags; the message names the file.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} is no recipe: it has more than {MAX_BYTES:,} bytes.")
    try:
        fields = parse_yaml(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no YAML that is read here: {one_line(error)}") from error
    if isinstance(fields, Written) and fields.is_null:
        return {}
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a mapping from names to values, got {fields!r:.80}.")
    return fields


def parse_yaml(text: str) -> Any:
    """What `read_yaml` says, of a text that may hold anything; a ValueError says what is wrong and in which line."""
    try:
        events = yaml.parse(text, Loader=_Loader)
        next(events)  # the stream begins
        if isinstance(next(events), yaml.StreamEndEvent):
            return Written()
        value = _value(events, next(events))
        next(events)  # the document ends
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise ValueError("it must be one document, without lines of --- between others")
    except yaml.YAMLError as error:
        raise ValueError(one_line(error)) from error
    return value


def meaning(value: Any) -> Any:
    """The values of all scalars in what `parse_yaml` gives."""
    if isinstance(value, Written):
        return value.value
    if isinstance(value, list):
        return [meaning(entry) for entry in value]
    if isinstance(value, dict):
        return {str(name): meaning(entry) for name, entry in value.items()}
    return value


def dump_yaml(fields: dict[str, Any]) -> str:
    """A text whose `meaning` is `fields`, which are text, numbers, truth values, None, lists and dicts of such."""
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True  # a list that is there twice is written twice

    def represent_text(self, text: str) -> yaml.ScalarNode:
        style = None if Written(text).value == text else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def _value(events: Iterator[yaml.Event], event: yaml.Event, depth: int = 0) -> Any:
    """What begins with `event`; the other events of it are taken from `events`."""
    where = f"line {event.start_mark.line + 1}"
    if event.anchor:  # that of an alias is what it stands for
        raise ValueError(f"{where} has an anchor or alias ({event.anchor!r:.40}): text with & or * needs quotes")
    if event.tag:
        raise ValueError(f"{where} has a tag ({event.tag!r:.40}): text with ! needs quotes")
    if isinstance(event, yaml.ScalarEvent):
        scalar = Written(event.value)
        scalar.is_quoted = not event.implicit[0]
        return scalar
    if depth == MAX_DEPTH:
        raise ValueError(f"{where} is nested more than {MAX_DEPTH} deep")
    if isinstance(event, yaml.SequenceStartEvent):
        return [_value(events, entry, depth + 1) for entry in _until(yaml.SequenceEndEvent, events)]
    return _mapping(events, depth + 1)


def _mapping(events: Iterator[yaml.Event], depth: int) -> dict[str, Any]:
    mapping = {}
    for event in _until(yaml.MappingEndEvent, events):
        where = f"line {event.start_mark.line + 1}"
        name = _value(events, event, depth)
        if not isinstance(name, Written):
            raise ValueError(f"{where} has a list or mapping as a name")
        if name in mapping:
            raise ValueError(f"{where} has {str(name)!r:.80} a second time")
        value = _value(events, next(events), depth)
        mapping[str(name)] = None if isinstance(value, Written) and value.is_null else value
    return mapping


def _until(end: type[yaml.Event], events: Iterator[yaml.Event]) -> Iterator[yaml.Event]:
    while not isinstance(event := next(events), end):
        yield event
