# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What a model says about pictures: `python scripts/predict.py --help`; installed, it is `hf-gpvit predict`."""

from hf_gpvit_cli import run


if __name__ == "__main__":
    run("predict")
