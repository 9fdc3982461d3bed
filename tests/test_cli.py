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
import subprocess
import sys

import hf_gpvit
import hf_gpvit_cli


def test_presets_are_listed_with_their_sizes(capsys):
    hf_gpvit_cli.main(["presets"])
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert [*rows] == [*hf_gpvit.GPViTConfig.presets(), *hf_gpvit.HRViTConfig.presets()]
    assert rows["gpvit-l1"] == ["216", "9,325,544"]
    assert rows["hrvit-b1"] == ["32-64-128-256", "7,758,008"]


def test_help_loads_no_torch():
    code = """
import sys
import hf_gpvit_cli
try:
    hf_gpvit_cli.main(["--help"])
finally:
    assert "torch" not in sys.modules
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "presets" in result.stdout


def test_version(capsys):
    try:
        hf_gpvit_cli.main(["--version"])
    except SystemExit as stopped:
        assert stopped.code == 0
    assert capsys.readouterr().out.split() == ["hf-gpvit", hf_gpvit.__version__]
