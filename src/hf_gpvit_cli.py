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

"""The `hf-gpvit` command. It stands outside the package, whose import loads torch, so that `--help` is quick."""

import argparse
from collections.abc import Sequence
from importlib.metadata import version


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="hf-gpvit", description="High-resolution vision transformers.")
    parser.add_argument("--version", action="version", version=f"hf-gpvit {version('hf-gpvit')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    presets = commands.add_parser("presets", help="list the model variants and their sizes")
    presets.set_defaults(run=print_presets)
    options = parser.parse_args(arguments)
    options.run()


def print_presets() -> None:
    """Prints every preset with its channels (of each branch, where there are several) and backbone parameters."""
    import torch

    from hf_gpvit import GPViTConfig, GPViTModel, HRViTConfig, HRViTModel

    print(f"{'preset':12} {'channels':>15} {'backbone parameters':>19}")
    for config_class, model_class in ((GPViTConfig, GPViTModel), (HRViTConfig, HRViTModel)):
        for preset in config_class.presets():
            config = config_class.from_preset(preset)
            widths = getattr(config, "hidden_sizes", None) or [config.hidden_size]
            with torch.device("meta"):
                num_parameters = model_class(config, add_pooling_layer=False).num_parameters()
            print(f"{preset:12} {'-'.join(map(str, widths)):>15} {num_parameters:19,}")


if __name__ == "__main__":
    main()
