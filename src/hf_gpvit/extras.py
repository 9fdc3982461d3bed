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
"""Importing what only some parts of the package need."""

import importlib
from types import ModuleType


def import_extra(name: str, extra: str = "train") -> ModuleType:
    """The module `name`, or an ImportError that says which extra of the package brings it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f'This needs {package}, which is not installed: pip install "hf-gpvit[{extra}]", or in a clone of the '
            f'repository pip install -e ".[{extra}]"'
        ) from error
