# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""An official checkpoint to a model folder: `python scripts/convert_checkpoint.py --help`, or `hf-gpvit convert`."""

from hf_gpvit.conversion.convert_command import convert_command


if __name__ == "__main__":
    convert_command()
