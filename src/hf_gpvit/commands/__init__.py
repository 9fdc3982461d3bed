# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the commands of `hf-gpvit` do once their arguments are read, one file each; see `hf_gpvit_cli` for these."""
