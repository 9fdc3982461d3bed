# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""A model goes to the Hugging Face Hub: `python scripts/push_to_hub.py --help`; installed, it is `hf-gpvit push`."""

from hf_gpvit_cli import run


if __name__ == "__main__":
    run("push")
