# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Official checkpoints -> our models."""

from .convert import convert_checkpoint
from .releases import RELEASES, Release


__all__ = ["RELEASES", "Release", "convert_checkpoint"]
