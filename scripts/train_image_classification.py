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
"""Trains an image classifier on Accelerate.

    python scripts/train_image_classification.py --config configs/small/shapes-classification.yaml
    accelerate launch scripts/train_image_classification.py \\
        --config configs/imagenet1k/gpvit-l1.yaml --output_dir runs/l1

A config is a YAML file of fields; all fields are options too, which override the file. `--resume` goes on with the run
in `--output_dir`. What it leaves there, best/ above all, loads with `AutoModelForImageClassification`.
"""

from hf_gpvit.training.command_line import train_command
from hf_gpvit.training.recipe import ClassificationRecipe


if __name__ == "__main__":
    train_command(ClassificationRecipe, __doc__)
