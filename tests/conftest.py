# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
import os


# No test may reach the Hub; huggingface_hub reads this once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# Tests that run side by side share the cores; tiny models gain nothing from a second one.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest  # noqa: E402
import torch  # noqa: E402

from families import FAMILIES  # noqa: E402


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    return request.param


@pytest.fixture(autouse=True)
def _same_weights_every_time():
    torch.manual_seed(0)
