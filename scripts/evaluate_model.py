# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How good a model is on a dataset: `python scripts/evaluate_model.py --help`; installed, `hf-gpvit evaluate`."""

from hf_gpvit.training.evaluate_command import evaluate_command


if __name__ == "__main__":
    evaluate_command()
