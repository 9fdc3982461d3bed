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
"""Image processors, label sets, and pictures of any mode in RGB."""

from .image_processors import image_processor_for
from .labels import LabelSet, load_label_set
from .pictures import to_rgb


__all__ = ["LabelSet", "image_processor_for", "load_label_set", "to_rgb"]
