# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""`python -m hf_gpvit_cli`, and `accelerate launch -m hf_gpvit_cli`."""

from . import main


if __name__ == "__main__":  # workers of data loaders import this file again
    main()
