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
"""How good a saved classifier or segmentor is on a labelled dataset.

    python scripts/evaluate_model.py --model outputs/quickstart --dataset shapes
    python scripts/evaluate_model.py --model path/to/model --dataset path/to/photos --output metrics.json
    accelerate launch scripts/evaluate_model.py --model path/to/ade20k-model --dataset path/to/parquet \\
        --split validation --class_names ade20k --window_size 640 --scales 0.75 1 1.25 --flip

The dataset's classes must be the model's, in the same order; annotations whose classes have no names are taken to have
the model's. A folder of pictures without a test part is tested on a fifth of them, with `--split train+test` on all.
With several processes, each picture still counts once.
"""

from hf_gpvit.training.evaluate_command import evaluate_command


if __name__ == "__main__":
    evaluate_command(__doc__)
