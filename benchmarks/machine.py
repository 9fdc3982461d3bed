# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the machine is, and the most that it does: ceilings that the models' times are held against."""

import platform
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import torch.nn.functional as F


GEMM_SIDE = 2048
IMAGES = 32  # a single image with a pointwise convolution does not go to oneDNN where there is one thread
GEMM_FLOPS = 2 * GEMM_SIDE**3
COPIED_BYTES = 2**28  # far more than caches hold
PACKAGES = ("torch", "transformers", "timm", "hf-gpvit")


def describe_machine(device: torch.device) -> dict[str, str | int | None]:
    """What the times depend on, and nothing that tells whose machine it is."""
    description = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }
    if device.type == "cuda":
        description |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "device_memory_bytes": torch.cuda.get_device_properties(device).total_memory,
            "tf32_products": torch.backends.cuda.matmul.allow_tf32,
            "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        }
    return description


def cpu_name() -> str:
    """The processor's name, as far as the system tells it."""
    try:  # Python doesn't know it on Linux
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def ceiling_steps(device: torch.device, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """One product of two square matrices, computed in two ways, and one copy; `GEMM_FLOPS` and `COPIED_BYTES` each.

    CPUs compute products by MKL and convolutions by oneDNN, which can be twice as fast on those that are not Intel's.
    """
    left, right = (torch.randn(GEMM_SIDE, GEMM_SIDE, dtype=dtype, device=device) for _ in range(2))
    pixels = left.view(IMAGES, GEMM_SIDE // IMAGES, 1, GEMM_SIDE).permute(0, 3, 1, 2)
    weight = right[..., None, None]
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return {
        "matrix_product": _without_gradients(lambda: left @ right),
        "pointwise_convolution": _without_gradients(lambda: F.conv2d(pixels, weight)),
        "copy": lambda: target.copy_(source),
    }


def _without_gradients(step: Callable[[], object]) -> Callable[[], object]:
    return torch.inference_mode()(step)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
