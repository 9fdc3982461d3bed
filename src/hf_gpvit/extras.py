# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Importing what only some parts of the package need, when they need it."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any


def import_extra(name: str, extra: str = "train") -> ModuleType:
    """The module `name`, or an ImportError that says which extra of the package brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f'This needs {package}, which is not installed: pip install "hf-gpvit[{extra}]", or in a clone of the '
            f'repository pip install -e ".[{extra}]"'
        ) from error


def looked_up(package: str, places: dict[str, str]) -> Callable[[str], Any]:
    """A `__getattr__` for a package that gives names of modules which it must not import.

    Args:
        package: Its name.
        places: Full names of the modules by what they give.
    """

    def find(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(places[name]), name)

    return find
