# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From options to the settings of a task, which say how its models see a picture."""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from ..tasks import TASKS, Task


def settings_of(options: Namespace, task: type[Task]) -> Any:
    """The task's `settings_class` with what options of the same names say, or None if it has none.

    Raises:
        ValueError: An option is given that other tasks alone have, or is out of range.
    """
    for name, default in _all_defaults().items():
        if _given(options, name) not in (None, default):
            check_option(options, name, task, lambda other, name=name: name in _defaults(other))
    return task.settings_class and task.settings_class.of(options)


def check_ranges(options: Namespace) -> None:
    """Raises a ValueError for options that no task would take, before it is known which one it is."""
    for name, least in (("batch_size", 1), ("num_workers", 0)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise ValueError(f"--{name} must be at least {least}, got {value}.")
    for task in TASKS.values():
        if task.settings_class:
            task.settings_class.of(options)


def check_option(options: Namespace, name: str, task: type[Task], is_for: Callable[[type[Task]], bool]) -> None:
    """Raises a ValueError unless the option `name`, which is given, is for the task of `options.model`."""
    if not is_for(task):
        tasks = ", ".join(other.name for other in TASKS.values() if is_for(other))
        value = getattr(options, name)
        raise ValueError(f"--{name} is for {tasks}, but {options.model} is for {task.name}, got {value}.")


def _given(options: Namespace, name: str) -> Any:
    value = getattr(options, name, None)
    return tuple(value) if isinstance(value, list) else value


def _all_defaults() -> dict[str, Any]:
    return {name: default for task in TASKS.values() for name, default in _defaults(task).items()}


def _defaults(task: type[Task]) -> dict[str, Any]:
    return {field.name: field.default for field in fields(task.settings_class)} if task.settings_class else {}
