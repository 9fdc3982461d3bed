# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters and multiply-adds of every variant, to the unit."""
