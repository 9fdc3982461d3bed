# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Run transformers' own model tests over the classes of this package.

`python tests/conformance/run.py [pytest arguments]` fetches the source distribution of the installed transformers (the
wheel has no tests), runs its test mixins over our classes and over in-tree vision models, and compares the skips: a
test that ours skip must be one that an in-tree model skips too. Exits non-zero otherwise, or on a failure.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

import pytest


# The mixins are imported as this package: `tests`, their own name, is taken by the tests of this repository.
PACKAGE = "transformers_tests"
REFERENCES = ("Swin", "Segformer", "ConvNext")
KINDS = ("ModelTest", "BackboneTest")

# What the mixins import but the source distribution leaves out. Ours export nothing and generate nothing, so two empty
# classes do; the dictionary holds arguments that every config must take.
STUBS = {
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": """config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["SomeModel"],
    "id2label": {0: "label"},
    "label2id": {"label": 0},
    "problem_type": "regression",
}
""",
}


class Recorder:
    """A pytest plugin that keeps the outcomes of every test; a test with subtests has several."""

    def __init__(self):
        self.outcomes = defaultdict(lambda: defaultdict(set))  # class name -> test name -> {outcome}

    def pytest_runtest_logreport(self, report):
        # Setup and teardown count only where they fail or skip.
        if report.when == "call" or not report.passed:
            _, class_name, test_name = report.nodeid.split("::")
            self.outcomes[class_name][test_name].add(report.outcome)

    def tests(self, class_name, outcome):
        return {name for name, outcomes in self.outcomes[class_name].items() if outcome in outcomes}

    def verdicts(self, class_name):
        """One verdict per test, the worst of its outcomes."""
        order = ("failed", "skipped", "passed")
        outcomes_by_test = self.outcomes[class_name].values()
        return Counter(next(verdict for verdict in order if verdict in outcomes) for outcomes in outcomes_by_test)


def fetch_sdist(cache):
    """Path of the source distribution of the installed transformers, downloaded once."""
    release = version("transformers")
    path = cache / f"transformers-{release}.tar.gz"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            subprocess.run([*pip, "--dest", folder, f"transformers=={release}"], check=True)
            (download,) = Path(folder).iterdir()
            os.replace(download, path)
    return path


def extract_tests(sdist, folder):
    """Lay out upstream's tests in `folder` as the importable package `PACKAGE`."""
    with tarfile.open(sdist) as archive:
        members = [member for member in archive if Path(member.name).parts[1:2] == ("tests",)]
        for member in members:
            member.name = str(Path(PACKAGE, *Path(member.name).parts[2:]))
        archive.extractall(folder, members=members, filter="data")

    package = Path(folder, PACKAGE)
    package.joinpath("__init__.py").touch()
    for name, source in STUBS.items():
        stub = package / name
        if not stub.exists():
            stub.parent.mkdir(exist_ok=True)
            stub.parent.joinpath("__init__.py").touch()
            stub.write_text(source, encoding="utf-8")


def is_reference(class_name):
    return class_name.startswith(REFERENCES)


def unmatched_skips(recorder):
    """(class, test) pairs skipped by our classes and by no reference of the same kind."""
    pairs = []
    for kind in KINDS:
        names = [name for name in recorder.outcomes if name.endswith(kind)]
        allowed = set().union(*(recorder.tests(name, "skipped") for name in names if is_reference(name)))
        for name in names:
            if not is_reference(name):
                pairs += [(name, test) for test in sorted(recorder.tests(name, "skipped") - allowed)]
    return pairs


def summarise(recorder):
    """Print the counts and the comparison of skips; returns whether the comparison holds."""
    print(f"\n{'class':32}{'passed':>8}{'failed':>8}{'skipped':>9}")
    for name in recorder.outcomes:
        verdicts = recorder.verdicts(name)
        print(f"{name:32}{verdicts['passed']:8}{verdicts['failed']:8}{verdicts['skipped']:9}")

    if not any(map(is_reference, recorder.outcomes)):
        print("\nThe references did not run: skips are not compared.")
        return True
    unmatched = unmatched_skips(recorder)
    print(f"\nSkipped by our classes but by no reference ({', '.join(REFERENCES)}): {len(unmatched) or 'none'}")
    for name, test in unmatched:
        print(f"  {name}::{test}")
    return not unmatched


def main(arguments):
    cache = Path(os.environ.get("HF_GPVIT_CACHE", Path.home() / ".cache" / "hf_gpvit"))
    recorder = Recorder()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for models this small, more threads only wait for each other
    with tempfile.TemporaryDirectory() as folder:
        extract_tests(fetch_sdist(cache), folder)
        sys.path.insert(0, folder)
        os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # some of the tests run in a process of their own
        tests = Path(__file__).with_name("test_upstream.py")
        options = ["-o", "addopts=", "-p", "no:cacheprovider", "--disable-warnings", "--quiet"]
        status = pytest.main([str(tests), *options, *arguments], plugins=[recorder])
    matched = summarise(recorder)
    return int(status) or int(not matched)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
