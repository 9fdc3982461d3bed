# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What workers make ready is what this process would have made, in its order."""

import os
import signal
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hf_gpvit.data.pictures import UnreadablePictureError
from hf_gpvit.data.workers import ready_batches


class Samples(torch.utils.data.Dataset):
    """Of all that samples are made of: tensors of types and shapes that don't fit one behind the other."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index == 3:
            return UnreadablePictureError("three\nlines")
        tensors = [
            torch.arange(index + 1) % 2 == 0,
            torch.full((2, index), index, dtype=torch.float64),
            torch.full((3, 2), index, dtype=torch.bfloat16).T,
            torch.tensor(index),
        ]
        return index, os.getpid(), {"tensors": tensors}, Image.new("RGB", (4, 3), (index, 0, 0))


def assert_same(first, second):
    if isinstance(first, ValueError):
        assert (type(first), str(first)) == (type(second), str(second))
        return
    assert first[0] == second[0]
    for one, other in zip(first[2]["tensors"], second[2]["tensors"], strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    assert np.array_equal(np.asarray(first[3]), np.asarray(second[3]))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_make_what_this_process_makes(num_workers):
    state = torch.get_rng_state()
    plain, ready = (list(ready_batches(Samples(8), 3, number)) for number in (0, num_workers))
    assert [len(batch) for batch in ready] == [3, 3, 2]
    for first, second in zip(sum(plain, []), sum(ready, []), strict=True):
        assert_same(first, second)
    made_by = {sample[1] for batch in ready for sample in batch if not isinstance(sample, ValueError)}
    assert len(made_by) == num_workers and os.getpid() not in made_by
    assert torch.equal(torch.get_rng_state(), state)


def test_no_worker_without_work():
    [batch] = ready_batches(Samples(3), 3, num_workers=8)
    assert {sample[1] for sample in batch} == {os.getpid()}
    assert list(ready_batches(Samples(0), 3, num_workers=8)) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1, "num_workers": -1}, "num_workers must be at least 0, got -1"),
    ],
)
def test_bad_numbers(fields, message):
    with pytest.raises(ValueError, match=message):
        ready_batches(Samples(3), **fields)


class Killing(Samples):
    def __getitem__(self, index):
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


@pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")
def test_a_killed_worker_is_told():
    with pytest.raises(ChildProcessError, match="worker that loads pictures was lost .*num_workers=0"):
        list(ready_batches(Killing(9), 1, num_workers=1))
