# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Runs notebooks in the Python that runs this, whatever Jupyter kernels are installed.

python tests/support/run_notebooks.py notebooks/use.ipynb    # writes the new outputs into the file
"""

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode


METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def run_notebook(path: Path, folder: Path) -> NotebookNode:
    """The notebook with its new outputs; all that it writes is below `folder`.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    folders = {name: str(folder) for name in ("IPYTHONDIR", "MPLCONFIGDIR", "TMPDIR", "TEMP", "TMP")}
    # without folders to look into, there is just the kernel of this Python
    specs = KernelSpecManager(kernel_dirs=[])
    manager = AsyncKernelManager(kernel_spec_manager=specs, connection_file=str(folder / "kernel.json"))
    client = NotebookClient(
        notebook,
        km=manager,
        timeout=1200,
        record_timing=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env=os.environ | folders)
    notebook.metadata = nbformat.from_dict(METADATA)
    return notebook


if __name__ == "__main__":
    for name in sys.argv[1:]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            executed = run_notebook(Path(name), Path(folder))
        nbformat.write(executed, name)
