# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Versions: the oldest are the lower bounds of setup.py, the locked ones are all that there is, pages say the same."""

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
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


def versions(file):
    """Versions by package of a constraints file; of a package that has several, the one for this Python."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pairs = [(each.name, each.specifier) for each in requirements if each.marker is None or each.marker.evaluate()]
    assert all(specifier.operator == "==" for _, specifiers in pairs for specifier in specifiers)
    return {name: Version(specifier.version) for name, specifiers in pairs for specifier in specifiers}


def test_the_lower_bounds_are_the_tested_versions():
    bounds = lower_bounds()
    assert {"torch", "transformers", "accelerate", "onnx", "jinja2", "pytest"} <= bounds.keys()
    assert versions("tests/oldest.txt") == bounds


def test_every_requirement_is_locked():
    """And what builds the package, and what requirements require; from no index in particular."""
    locked = versions("constraints.txt")
    bounds = lower_bounds()
    assert all(locked[canonicalize_name(name)] >= version for name, version in bounds.items())
    assert {"pip", "setuptools", "numpy", "sympy"} <= locked.keys()
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if not line.startswith("#") and re.search(r"https?:|--|file:", line)]
    names = {canonicalize_name(name) for name in all_requirements()}
    here = {name: Version(metadata.version(name).partition("+")[0]) for name in names}
    # elsewhere packages of other versions may require others
    assert names <= locked.keys() or any(here[name] != locked[name] for name in names & locked.keys())


def all_requirements():
    """Names of the packages that the package needs, its extras included, and of what these need here in turn."""
    found, pending = set(), [("hf-gpvit", extra) for extra in ("", "train", "hub", "onnx", "dev")]
    while pending:
        package, extra = pending.pop()
        for requirement in map(Requirement, metadata.requires(package) or []):
            is_needed = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            if is_needed and (requirement.name, "") not in found:
                found.add((requirement.name, ""))
                pending += [(requirement.name, each) for each in ("", *requirement.extras)]
    return {name for name, _ in found}


def test_pages_name_the_locked_torch():
    locked = versions("constraints.txt")
    pins = f"torch=={locked['torch']} torchvision=={locked['torchvision']}"
    for file in ("docs/install.md", "Makefile"):
        assert pins in (ROOT / file).read_text(encoding="utf-8"), file


def test_pages_name_the_tested_versions():
    """The table of versions, and the cards of published models, from the oldest to the latest."""
    table = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    rows = {row[0].split(", ")[0]: [cell.split(", ")[0] for cell in row[1:]] for row in rows if len(row) == 4}
    locked, oldest = versions("constraints.txt"), versions("tests/oldest.txt")
    for name in ("transformers", "torch", "accelerate", "numpy", "onnx", "peft"):
        assert list(map(Version, rows[name][:2])) == [oldest[name], locked[name]], name
    card = (ROOT / "hub_cards/card.md").read_text(encoding="utf-8").replace("\n", " ")
    for name in ("transformers", "torch"):
        ends = [".".join(rows[name][index].split(".")[:2]) for index in (0, 2)]
        assert f"{name} {ends[0]} to {ends[1]}" in card
