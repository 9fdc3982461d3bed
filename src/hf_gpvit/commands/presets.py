# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit presets` does."""

from argparse import Namespace

from ..costs import backbone_parameters
from ..saved_models import presets
from .ending import ending_errors, say


@ending_errors()
def run(options: Namespace, prog: str) -> None:
    """Prints every preset with its channels (of each branch, where there are several) and backbone parameters."""
    say(f"{'preset':12} {'channels':>15} {'backbone parameters':>19}")
    for preset, config_class in presets().items():
        config = config_class.from_preset(preset)
        widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
        say(f"{preset:12} {'-'.join(map(str, widths)):>15} {backbone_parameters(config):19,}")
