# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


ROOT = Path(__file__).parent
VERSION = (ROOT / "src/hf_gpvit/version.txt").read_text(encoding="utf-8").strip()

TRAIN = [
    "accelerate>=1.8.1",
    "datasets>=4.0",
    "evaluate>=0.4",
    "faster-coco-eval>=1.6.5",
    "matplotlib>=3.9",
    "torchdata>=0.11",
    "torchmetrics>=1.4",
]
HUB = ["jinja2>=3"]
ONNX = ["onnx>=1.18", "onnxruntime>=1.21", "onnxscript>=0.7.1"]
BENCHMARK = ["matplotlib>=3.9", "psutil>=5.9.4", "scipy>=1.13", "timm>=1.0"]
NOTEBOOKS = ["ipykernel>=6.29", "nbclient>=0.10", "nbformat>=5.10"]
DEV = [
    "hypothesis>=6.100",
    "parameterized>=0.9",
    "peft>=0.19.1",
    "pycocotools>=2.0.8",
    "pytest>=8",
    "pytest-timeout>=2.3.1",
    "pytest-xdist>=3.5",
    "ruff>=0.9",
    "scipy>=1.13",
    "supervision>=0.25",
    "torchao>=0.16",
]


class BuildWithFolders(build_py):
    """Puts configs/ and hub_cards/ into the package; an editable install reads them where they are."""

    def run(self):
        super().run()
        if not self.editable_mode:
            for name in ("configs", "hub_cards"):
                shutil.copytree(ROOT / name, Path(self.build_lib) / "hf_gpvit" / name, dirs_exist_ok=True)


setup(
    name="hf-gpvit",
    version=VERSION,
    description="High-resolution vision transformers (GPViT, HRViT) for Hugging Face transformers",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The hf-gpvit authors",
    license="Apache-2.0",
    package_dir={"": "src"},
    packages=find_packages("src"),
    package_data={"hf_gpvit": ["py.typed", "version.txt", "data/label_sets/*.json"]},
    cmdclass={"build_py": BuildWithFolders},
    python_requires=">=3.11",
    install_requires=[
        "huggingface_hub>=1.5,<3",
        "numpy>=2.0",
        "pillow>=11.0",
        "safetensors>=0.8",
        "torch>=2.11",
        "torchvision>=0.26",
        "transformers>=5.17,<6",
    ],
    extras_require={
        "train": TRAIN,
        "hub": HUB,
        "onnx": ONNX,
        "benchmark": BENCHMARK,
        "dev": TRAIN + HUB + ONNX + NOTEBOOKS + DEV,
    },
    entry_points={"console_scripts": ["hf-gpvit=hf_gpvit_cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
