# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Image processors, label sets, and pictures of any mode in RGB."""

from importlib import import_module
from typing import Any

from .labels import LabelSet, load_label_set
from .pictures import to_rgb


__all__ = ["LabelSet", "image_processor_for", "load_label_set", "to_rgb"]


def __getattr__(name: str) -> Any:
    if name != "image_processor_for":  # which asks the tasks, and they are built on this package
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module("hf_gpvit.tasks").image_processor_for
