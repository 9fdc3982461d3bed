# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What pages of the documentation tell readers to run."""

import re
import textwrap
from pathlib import Path


DOCS = Path(__file__).parents[2] / "docs"


def python_blocks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)]
