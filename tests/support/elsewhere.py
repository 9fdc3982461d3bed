# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A process of somebody who has transformers but not this package."""

_FINDER = """
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return None if fullname.partition(".")[0] in {modules} else super().find_spec(fullname, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
"""


def without(*modules: str) -> str:
    """The beginning of a program that can't import `modules`."""
    return _FINDER.format(modules=modules)
