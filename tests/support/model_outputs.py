# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Model outputs compared, whatever their class."""

import torch


def tensors(outputs):
    """Name -> tensor of a model output, tuples flattened."""
    flat = {}
    for key, value in outputs.items():
        values = value if isinstance(value, tuple) else (value,)
        flat |= {f"{key}.{index}": tensor for index, tensor in enumerate(values)}
    return flat


def assert_same(actual, expected, **tolerance):
    actual, expected = tensors(actual), tensors(expected)
    assert actual.keys() == expected.keys()
    for key in actual:
        torch.testing.assert_close(actual[key], expected[key], msg=lambda text, key=key: f"{key}: {text}", **tolerance)
