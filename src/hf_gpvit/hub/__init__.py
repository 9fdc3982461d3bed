# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Publishing on the Hugging Face Hub."""

from .cards import model_card
from .folders import save_for_hub
from .onnx_export import export_onnx
from .push import NotPublished, push_folder, push_model


__all__ = ["NotPublished", "export_onnx", "model_card", "push_folder", "push_model", "save_for_hub"]
