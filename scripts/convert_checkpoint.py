# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""An official checkpoint to a model folder: `python scripts/convert_checkpoint.py --help`, or `hf-gpvit convert`."""

from hf_gpvit_cli import run


if __name__ == "__main__":
    run("convert")
