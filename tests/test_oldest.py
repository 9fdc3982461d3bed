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
"""`make test-oldest` installs what setup.py promises: the lower bound of every requirement."""

import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version


ROOT = Path(__file__).parents[1]


def lower_bounds():
    """Oldest versions by package, of setup.py; `python_requires` names no package."""
    source = (ROOT / "setup.py").read_text(encoding="utf-8")
    requirements = map(Requirement, re.findall(r'"([\w-]+[<>=!~]=\d[^"]*)"', source))
    return {
        requirement.name: Version(specifier.version)
        for requirement in requirements
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }


def tested_versions():
    lines = (ROOT / "tests" / "oldest.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {name: Version(version) for name, version in pairs}


def test_the_lower_bounds_are_the_tested_versions():
    bounds = lower_bounds()
    assert {"torch", "transformers", "accelerate", "onnx", "jinja2", "pytest"} <= bounds.keys()
    assert tested_versions() == bounds
