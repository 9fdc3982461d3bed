# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m hf_gpvit`: the `hf-gpvit` command, and how `accelerate launch --module hf_gpvit` starts it."""

from hf_gpvit_cli import main


if __name__ == "__main__":  # workers of data loaders import this file again
    main()
