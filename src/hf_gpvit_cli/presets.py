# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What `hf-gpvit presets` does, from figures that stand here so that it needn't load torch to count them."""

from argparse import Namespace


# Channels, of each branch where there are several, and parameters of the backbone.
PRESETS = {
    "gpvit-l1": ([216], 9_325_544),
    "gpvit-l2": ([348], 23_691_532),
    "gpvit-l3": ([432], 36_221_056),
    "gpvit-l4": ([624], 74_859_456),
    "gpvit-nano": ([64], 515_840),
    "hrvit-b1": ([32, 64, 128, 256], 7_758_008),
    "hrvit-b2": ([48, 96, 240, 384], 20_310_944),
    "hrvit-b3": ([64, 128, 256, 512], 25_507_960),
    "hrvit-nano": ([16, 32, 64, 96], 301_192),
}


def run(options: Namespace, prog: str) -> None:
    """Prints every preset with its channels and parameters."""
    rows = [f"{name:12} {'-'.join(map(str, widths)):>15} {count:19,}" for name, (widths, count) in PRESETS.items()]
    print(f"{'preset':12} {'channels':>15} {'backbone parameters':>19}", *rows, sep="\n")
