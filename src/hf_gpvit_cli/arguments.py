# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The arguments of each command, which some scripts share: a function of the given ones and the program's name."""

from argparse import (
    ArgumentParser,
    ArgumentTypeError,
    BooleanOptionalAction,
    Namespace,
    RawDescriptionHelpFormatter,
)
from collections.abc import Callable, Sequence


# Those of `hf_gpvit.tasks.TASKS`.
TASKS = ("image-classification", "semantic-segmentation", "object-detection", "instance-segmentation")
# Those of `hf_gpvit.GPViTDetectionConfig`.
DETECTOR_TYPES = ("mask_rcnn", "retinanet")

# That of the models' configs, and that of the numbers in recipes.
MAX_SIDE, MAX_COUNT, MAX_WORKERS = 2**14, 2**31 - 1, 1024


def _up_to(limit: int) -> Callable[[str], int]:
    """The type of integers that are not larger. What is too small for a command, it says itself."""

    def integer(text: str) -> int:
        value = int(text)
        if value > limit:
            raise ArgumentTypeError(f"must be at most {limit}, got {text:.40}")
        return value

    return integer


def presets(arguments: Sequence[str], prog: str) -> Namespace:
    description = (
        "The models of the papers, their channels and the parameters of their backbones. --model and info also take "
        "what the papers compare them with: hf_gpvit.ablations.variants()."
    )
    return _parser(description, prog).parse_args(arguments)


INFO = """\
Parameters, multiply-adds and memory of a model, counted while one picture runs through it on the CPU, with
random weights. Multiply-adds are those that are made, where weights are composed first, and those of the layers in
the order in which the papers write them.

    %(prog)s gpvit-l1
    %(prog)s gpvit-l1 --task semantic-segmentation --image_size 512 2048
    %(prog)s gpvit-l1 --task object-detection --detector_type retinanet
    %(prog)s l1-window-none
    %(prog)s path/to/model
"""


def info(arguments: Sequence[str], prog: str) -> Namespace:
    parser = _parser(INFO, prog)
    parser.add_argument("model", help="preset, variant of hf_gpvit.ablations, folder or Hub name")
    parser.add_argument("--task", choices=TASKS, help="of a preset or variant; by default image-classification")
    parser.add_argument(
        "--detector_type", choices=DETECTOR_TYPES, help="of a preset for detection; by default mask_rcnn"
    )
    parser.add_argument(
        "--image_size",
        type=_up_to(MAX_SIDE),
        nargs="+",
        help="height and width, or one side; by default what the image processor makes of a square picture: the "
        "config's, or 512; for detectors of one of 5:8, such as 800x1280",
    )
    return parser.parse_args(arguments)


TRAIN = """Trains a classifier or a segmentor by a recipe, on Accelerate.

    %(prog)s --config small/shapes-segmentation --output_dir runs/shapes
    %(prog)s --config my-recipe.yaml --learning_rate 5e-4 --resume
    %(prog)s --task image-classification --dataset path/to/photos --output_dir runs/photos
    accelerate launch --module hf_gpvit_cli train --config imagenet1k/gpvit-l1 --output_dir runs/l1

A recipe is a YAML file of fields; all fields are options too, which override the file: %(prog)s --task TASK --help
lists them. `task` is in the file or given. Text that begins with two dashes can be in a file only. `--resume` goes on
with the run in `--output_dir`. What it leaves there, best/ above all, loads with the Auto classes and `pipeline`.
"""


def train(arguments: Sequence[str], prog: str) -> Namespace:
    """Recipe and task, all other arguments as `fields`, and the `description` to show with these."""
    parser = _parser(TRAIN, prog, add_help=False)
    parser.add_argument(
        "--config", help="YAML file, or the name of a recipe that comes along; an unknown name lists all of them"
    )
    parser.add_argument("--task", choices=TASKS, help="by default what the recipe says")
    parser.set_defaults(description=TRAIN)
    options, options.fields = parser.parse_known_args(arguments)
    if options.config is None and options.task is None:
        parser.add_argument("-h", "--help", action="help", help="show this help, and with --task the recipe's fields")
        parser.parse_known_args(arguments)
        parser.error("--config or --task is needed")
    return options


PREDICT = """What a model says about pictures: their classes, or a mask of each, or the objects in them.

    %(prog)s --model outputs/quickstart photos/ cat.jpg
    %(prog)s --model gpvit-l1-ade20k photos/ --window_size 1024 --flip --scales 0.75 1 1.25
    %(prog)s --model gpvit-l1-coco aerial/ --window_size 1024 --threshold 0.3
    accelerate launch --module hf_gpvit_cli predict --model path/to/model photos/

`--model` is a folder or Hub name of a classifier, segmentor or detector. The output folder appears whole or not at
all; one of older predictions is moved aside. Pictures that can't be predicted are named at the end, and the exit code
is 1. Several processes share the pictures.
"""


def predict(arguments: Sequence[str], prog: str) -> Namespace:
    parser = _parser(PREDICT, prog)
    parser.add_argument("pictures", nargs="+", help="files, and folders, which are searched recursively")
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its image processor")
    parser.add_argument("--output_dir", default="outputs/predictions", help="folder to write")
    add_overwrite_argument(parser)
    parser.add_argument(
        "--top_k", type=_up_to(MAX_COUNT), default=5, help="labels of each picture that are kept and shown"
    )
    add_batch_arguments(parser)
    parser.add_argument("--device", help="such as cpu or cuda:0; by default the accelerator, if there is one")
    group = add_window_arguments(parser)
    group.add_argument("--threshold", type=float, default=0.5, help="objects that score more are shown, for detection")
    return parser.parse_args(arguments)


CONVERT = """An official checkpoint becomes a folder that `from_pretrained` and `pipeline` load.

    %(prog)s gpvit_l1_in1k_300e.pth gpvit-l1-imagenet --picture cat.png
    %(prog)s gpvit-l1 gpvit-l1-imagenet

An official model's name stands for its file, which is downloaded once and kept among torch.hub's checkpoints: gpvit-l1
to gpvit-l4, also with -segformer, -upernet, -maskrcnn-1x, -maskrcnn-3x, -retinanet-1x or -retinanet-3x. Variant, task,
head and classes are found in the file, which is read without running anything in it. The folder holds config, weights
and image processor; it appears whole or not at all, and an older one of a model is moved aside. With --picture, the
model in it says what it sees.
"""


def convert(arguments: Sequence[str], prog: str) -> Namespace:
    parser = _parser(CONVERT, prog)
    parser.add_argument("checkpoint", help="file with the official weights (.pth), or the name of an official model")
    parser.add_argument("output_dir", help="folder to write")
    add_overwrite_argument(parser)
    parser.add_argument("--picture", help="file to try the model on")
    parser.add_argument("--ema", action="store_true", help="take the second copy of the weights, from averaging")
    return parser.parse_args(arguments)


EVALUATE = """How good a saved classifier, segmentor or detector is on a labelled dataset.

    %(prog)s --model outputs/quickstart --dataset shapes
    %(prog)s --model path/to/model --dataset path/to/photos --output metrics.json
    accelerate launch --module hf_gpvit_cli evaluate --model path/to/ade20k-model --dataset path/to/parquet \\
        --split validation --class_names ade20k --window_size 640 --scales 0.75 1 1.25 --flip
    %(prog)s --model path/to/detector --dataset path/to/coco --save_json detections.json

The dataset's classes must be the model's, in the same order; annotations whose classes have no names are taken to have
the model's. A folder of pictures without a test part is tested on a fifth of them, with `--split train+test` on all.
With several processes, each picture still counts once.
"""


def evaluate(arguments: Sequence[str], prog: str) -> Namespace:
    parser = _parser(EVALUATE, prog)
    parser.add_argument("--model", required=True, help="folder or Hub name of a model with its image processor")
    parser.add_argument(
        "--dataset", required=True, help="'shapes', a folder of pictures or of parquet files, or a name on the Hub"
    )
    parser.add_argument("--dataset_name", help="configuration of parquet files or of a dataset on the Hub")
    parser.add_argument(
        "--split",
        "--eval_split",
        help="such as 'validation[:500]' or 'train+test'; by default the first of test, validation and val",
    )
    parser.add_argument("--image_column", default="image", help="column of the pictures")
    parser.add_argument(
        "--target_column",
        help="column of the classes, annotations or objects; by default label, annotation or objects",
    )
    parser.add_argument(
        "--class_names", nargs="+", help="names in the order of their ids, or one label set: ade20k, camvid, ..."
    )
    add_batch_arguments(parser)
    parser.add_argument("--skip_corrupt", action="store_true", help="leave out pictures that can't be read")
    parser.add_argument("--streaming", action="store_true", help="read parquet files and the Hub while evaluating")
    parser.add_argument("--output", help="JSON file to write the figures to, with dataset and split")
    parser.add_argument(
        "--save_json", help="JSON file to write all detections to, in COCO's results format with the dataset's own ids"
    )
    add_window_arguments(parser)
    parser.add_argument(
        "--reduce_labels",
        action=BooleanOptionalAction,
        help="annotations have 0 for no class, and classes from 1 on; by default what the image processor says",
    )
    return parser.parse_args(arguments)


PUSH = """A model goes to the Hugging Face Hub, in one commit and as a private repository.

    %(prog)s runs/shapes/best you/gpvit-shapes
    %(prog)s path/to/folder-of-save_for_hub you/gpvit-l1 --public

FOLDER is what save_for_hub wrote, or a folder with a model and its image processor, such as a run's best: that gets
the model's code and a card on the way, with the figures in its metrics.json. The token is taken from HF_TOKEN or from
`hf auth login`. After a cut connection the same command goes on.
"""


def push(arguments: Sequence[str], prog: str) -> Namespace:
    parser = _parser(PUSH, prog)
    parser.add_argument("folder", help="what to push")
    parser.add_argument("repo_id", help="name on the Hub, such as you/gpvit-l1; made if there is none")
    parser.add_argument("--public", action="store_true", help="for all to see; by default the repository is private")
    parser.add_argument("--revision", help="branch, made if there is none; by default the main one")
    parser.add_argument("--commit_message", help="of the commit; by default what the model is")
    parser.add_argument(
        "--allow_unevaluated", action="store_true", help="push a model without results of an evaluation too"
    )
    parser.add_argument("--dataset", help="name of what it was trained on, for the card; by default the recipe's")
    parser.add_argument("--license", help="of the weights, by the Hub's identifier; by default the recipe's")
    parser.add_argument("--onnx", action="store_true", help="also make an ONNX file, which takes seconds to minutes")
    return parser.parse_args(arguments)


class _Parser(ArgumentParser):
    """Its options begin with two dashes, but for -h: other words with one are values, such as a class "-a"."""

    def _parse_optional(self, arg_string: str):
        is_value = arg_string[:2] != "--" and arg_string not in self._option_string_actions
        return None if is_value else super()._parse_optional(arg_string)


def _parser(description: str, prog: str, **options) -> ArgumentParser:
    """A parser that shows `description` line by line, with `%(prog)s` in it replaced, and takes whole options only."""
    return _Parser(
        prog=prog,
        description=description,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **options,
    )


def add_overwrite_argument(parser: ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="move aside whatever is in the folder to write")


def add_batch_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--batch_size",
        type=_up_to(MAX_COUNT),
        help="pictures that the model sees at once, if they have one size; by default 32 of a classifier and 8 of a "
        "segmentor; detectors, and segmentors with windows, scales or flip, see one at a time",
    )
    parser.add_argument(
        "--num_workers",
        type=_up_to(MAX_WORKERS),
        default=1,
        help="processes that read and prepare pictures while the model works on those before; by default 1, a GPU "
        "needs more",
    )


def add_window_arguments(parser: ArgumentParser):
    """The fields of the tasks' `settings_class` as options, in a group of their own, which more can be added to."""
    group = parser.add_argument_group("how the model sees a picture")
    group.add_argument(
        "--window_size",
        type=_up_to(MAX_SIDE),
        help="side of sliding windows, of a segmentor in pixels of the resized picture, of a detector of the picture "
        "itself; by default the whole picture",
    )
    group.add_argument("--window_stride", type=_up_to(MAX_SIDE), help="by default three quarters of the window")
    group.add_argument(
        "--scales", type=float, nargs="+", default=[1.0], help="of the image processor's size, for segmentation"
    )
    group.add_argument("--flip", action="store_true", help="look at each picture mirrored too, for segmentation")
    group.add_argument(
        "--size_divisor",
        type=_up_to(MAX_SIDE),
        help="what sides are multiples of, for segmentation: 32 in the ADE20K test",
    )
    return group
