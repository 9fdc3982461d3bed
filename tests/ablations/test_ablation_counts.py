# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of every variant of a paper's table, to the unit."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSemanticSegmentation

from hf_gpvit.ablations import build_model, variants
from hf_gpvit.ablations.variants import variant
from hf_gpvit.costs import plain_macs


# By plain arithmetic, before there was any code; keys of one network are those of its fields.
COUNTS = json.loads(Path(__file__).with_name("counts.json").read_text(encoding="utf-8"))
