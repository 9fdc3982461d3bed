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
"""High-resolution vision transformers for Hugging Face: GPViT and HRViT.

Importing the package registers its models with the Auto classes of transformers.
"""

from pathlib import Path

from .models.configuration_gpvit import GPViTConfig
from .models.configuration_hrvit import HRViTConfig
from .models.modeling_gpvit import (
    GPViTBackbone,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTModel,
)
from .models.modeling_hrvit import (
    HRViTBackbone,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)
from .registration import register_auto_classes


__version__ = (Path(__file__).parent / "version.txt").read_text(encoding="utf-8").strip()

__all__ = [
    "GPViTBackbone",
    "GPViTConfig",
    "GPViTForImageClassification",
    "GPViTForSemanticSegmentation",
    "GPViTModel",
    "HRViTBackbone",
    "HRViTConfig",
    "HRViTForImageClassification",
    "HRViTForSemanticSegmentation",
    "HRViTModel",
]

register_auto_classes()
