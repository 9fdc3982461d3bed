# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
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
