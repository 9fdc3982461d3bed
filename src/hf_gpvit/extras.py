# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Importing what only some parts of the package need."""

import importlib
from types import ModuleType


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
