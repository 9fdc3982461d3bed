# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How good a model is on a dataset: `python scripts/evaluate_model.py --help`; installed, `hf-gpvit evaluate`."""

from hf_gpvit_cli import run


if __name__ == "__main__":
    run("evaluate")
