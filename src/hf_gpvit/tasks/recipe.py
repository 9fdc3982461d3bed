# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Everything that decides a training run, as dataclasses that YAML files and command lines fill in."""

from argparse import Action, ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

from transformers import HfArgumentParser

from ..files import shipped_folder, write_whole
from ..models.configuration_base import MAX_SIDE
from ..plain_yaml import dump_yaml, meaning, parse_yaml, read_yaml
from .fields import field_types, fields_from, typed


MAX_WORKERS = 1024
MAX_BASES = 20


class _Entries(Action):
    """A mapping from words `name=value` with values as YAML, of which later ones override earlier ones."""

    def __init__(self, *names, type: Any, **keywords):
        super().__init__(*names, nargs="+", **keywords)  # words stay text until they are entries

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: list[str], name: str | None = None):
        entries = dict(map(self._entry, values))
        setattr(namespace, self.dest, getattr(namespace, self.dest) | entries)

    def _entry(self, word: str) -> tuple[str, Any]:
        name, sign, value = word.partition("=")
        try:
            if sign:
                return name, meaning(parse_yaml(value))
        except ValueError:
            pass
        raise ArgumentError(self, f"must be name=value with values as YAML, got {word!r:.200}")


def option(default: Any, text: str, **metadata: Any) -> Any:
    """A dataclass field with its line of `--help`; with `free=True`, a resumed run may go on with another value."""
    metadata = {"help": text, **metadata}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: default.copy(), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass
class Recipe:
    """What all tasks have in common. Lengths are in optimizer steps, sizes in pixels, rates in (0, 1)."""

    task: ClassVar[str]

    model: str = option("gpvit-nano", "Preset (random weights), or folder or Hub name of a model of any task.")
    output_dir: str = option("outputs/training", "New folder for the model, checkpoints, log and curves.", free=True)
    resume: bool = option(False, "Go on from the newest checkpoint of output_dir.", free=True)
    seed: int = option(0, "Of weights, order and augmentation.")

    dataset: str = option("shapes", "'shapes' (drawn scenes), folder of pictures or parquet files, or Hub name.")
    dataset_name: str | None = option(None, "Configuration of a Hub dataset.")
    train_split: str = option("train", "Split to train on, such as 'train+validation' or 'train[:2000]'.")
    eval_split: str | None = option(None, "Split to evaluate on; by default the first of test, validation, val.")
    image_column: str = option("image", "Column of the pictures.")
    target_column: str | None = option(None, "Column of the classes or masks; by default label or annotation.")
    class_names: list[str] | None = option(None, "Names in the order of the ids, or one label set, such as ade20k.")
    streaming: bool = option(False, "Read the train split as a stream, for sets larger than the disk.")
    skip_corrupt: bool = option(False, "Replace unreadable pictures by the next ones and count them.")
    num_workers: int = option(0, "Processes that load pictures, for each training process.", free=True)

    drop_path_rate: float | None = option(None, "Stochastic depth; by default the model's.")
    stripe_widths: list[int] | None = option(None, "Widths in tokens of HRViT's stripes; by default the model's.")
    model_fields: dict[str, Any] = option({}, "Other fields of the model's config: mlp_ratio=3 ...", action=_Entries)
    gradient_checkpointing: bool = option(False, "Compute activations twice rather than keep them.")
    compile: bool = option(False, "Train torch.compile's version of the model.")
    sync_batch_norm: bool = option(False, "Share BatchNorm's statistics between GPUs.")
    freeze_batch_norm: bool = option(False, "Leave BatchNorm as it is, for batches too small for statistics.")
    mixed_precision: Literal["no", "bf16", "fp16"] = option("no", "Type of the arithmetic.")

    num_train_epochs: float = option(1.0, "Passes through the train split.")
    max_steps: int = option(0, "Optimizer steps, instead of num_train_epochs; 0: not set. Streams need it.")
    batch_size: int = option(16, "Pictures in a step, over all processes and accumulated parts together.")
    gradient_accumulation_steps: int = option(1, "Parts in which a batch is computed.")
    learning_rate: float = option(1e-3, "Its peak.")
    head_learning_rate_factor: float = option(1.0, "Learning rate of the head in units of learning_rate.")
    weight_decay: float = option(0.05, "Of AdamW.")
    no_decay: Literal[
        "norms_and_biases",
        "norms_and_dense_biases",
        "trunk_norms_and_dense_biases",
        "layer_norms",
        "layer_norms_and_biases",
    ] = option(
        "norms_and_biases",
        "What does not decay, besides positions and group tokens; dense: those of depthwise convolutions do.",
    )
    schedule: Literal["cosine", "poly", "step"] = option(
        "cosine", "How the learning rate falls; poly: linearly; step: to a tenth at each milestone."
    )
    milestone_epochs: list[float] | None = option(None, "Epochs after which it falls with schedule=step.")
    milestone_steps: list[int] | None = option(None, "Steps after which it does, instead of milestone_epochs.")
    min_learning_rate_ratio: float = option(0.0, "Least learning rate of the schedule in units of the peak.")
    warmup_epochs: float = option(0.0, "Epochs in which the learning rate rises.")
    warmup_steps: int = option(0, "Steps in which it rises, instead of warmup_epochs.")
    warmup_start_ratio: float = option(1e-3, "First factor of the warm-up.")
    max_grad_norm: float = option(0.0, "Longer gradients are scaled down to it; 0: never.")
    ema_decay: float = option(0.0, "Average the weights of all steps with this decay, and evaluate that; 0: don't.")

    eval_steps: int = option(0, "Evaluate after this many steps; 0: after every epoch.")
    save_steps: int = option(0, "Save a checkpoint after this many steps; 0: after every evaluation.")
    logging_steps: int = option(20, "Log after this many steps.", free=True)
    max_checkpoints: int = option(2, "Checkpoints to keep.", free=True)
    trackers: list[str] = option(
        [], "Further trackers by Accelerate's names, such as tensorboard or wandb.", free=True
    )
    push_to_hub: bool = option(
        False, "Publish the best model on the Hub at the end; the token is that of HF_TOKEN.", free=True
    )
    hub_model_id: str | None = option(None, "Its name there, such as you/gpvit-shapes.", free=True)
    hub_private_repo: bool = option(True, "Make the repository a private one.", free=True)
    hub_license: str = option("apache-2.0", "Licence of the weights, by the Hub's identifier.", free=True)

    def __post_init__(self):
        for name, kind in field_types(type(self)).items():
            setattr(self, name, typed(name, getattr(self, name), kind))
        for name in ("batch_size", "gradient_accumulation_steps", "logging_steps", "max_checkpoints"):
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("num_workers", "max_steps", "warmup_steps", "warmup_epochs", "eval_steps", "save_steps", "seed"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("weight_decay", "max_grad_norm", "head_learning_rate_factor"):
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("learning_rate", "num_train_epochs"):
            self._require(name, getattr(self, name) > 0, "greater than 0")
        for name in ("min_learning_rate_ratio", "warmup_start_ratio"):
            self._require(name, 0 <= getattr(self, name) <= 1, "in [0, 1]")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._require("num_workers", self.num_workers <= MAX_WORKERS, f"at most {MAX_WORKERS}")
        for name in ("class_names", "stripe_widths", "milestone_epochs", "milestone_steps"):
            self._require(name, getattr(self, name) != [], "of at least one, or left out")
        self._require_milestones()
        self._require(
            "freeze_batch_norm",
            not (self.freeze_batch_norm and self.sync_batch_norm),
            "false where sync_batch_norm=True",
        )
        self._require(
            "batch_size",
            self.batch_size % self.gradient_accumulation_steps == 0,
            f"a multiple of gradient_accumulation_steps={self.gradient_accumulation_steps}",
        )
        self._require("max_steps", self.max_steps or not self.streaming, "given where streaming=True")
        self._require("hub_model_id", self.hub_model_id or not self.push_to_hub, "given where push_to_hub=True")
        for name in ("image_size", "id2label", "label2id"):
            self._require("model_fields", name not in self.model_fields, f"without {name}, which is set otherwise")
        for name, value in self.shorthands.items():
            agrees = value is None or self.model_fields.get(name, value) == value
            self._require("model_fields", agrees, f"in agreement with {name}={value!r}")

    def _require(self, name: str, valid: Any, expected: str) -> None:
        if not valid:
            raise ValueError(f"{name} must be {expected}, got {name}={getattr(self, name)!r}.")

    def _require_milestones(self) -> None:
        """That there are such for the schedule that needs them, and for no other."""
        given = [name for name in ("milestone_epochs", "milestone_steps") if getattr(self, name)]
        is_step = self.schedule == "step"
        self._require("schedule", given or not is_step, "given with milestone_epochs or milestone_steps")
        for name in given:
            values = getattr(self, name)
            rises = all(first < second for first, second in zip([0, *values], values, strict=False))
            self._require(name, is_step, "left out where schedule isn't step")
            self._require(name, rises, "greater than 0 and ascending")
        self._require("milestone_steps", len(given) < 2, "left out where milestone_epochs is given")

    def _require_sides(self, *names: str) -> None:
        """That sides in pixels, where they are given, are such as models take."""
        for name in names:
            side = getattr(self, name)
            self._require(name, side is None or 1 <= side <= MAX_SIDE, f"at least 1 and at most {MAX_SIDE}")

    @property
    def shorthands(self) -> dict[str, Any]:
        """Fields of the recipe that go to the model's config; None: they are not set."""
        return {"drop_path_rate": self.drop_path_rate, "stripe_widths": self.stripe_widths}

    @property
    def config_fields(self) -> dict[str, Any]:
        """Fields of the model's config that the recipe sets: `model_fields` and the shorthands."""
        return self.model_fields | {name: value for name, value in self.shorthands.items() if value is not None}

    def changes_to(self, other: "Recipe") -> list[str]:
        """Names of the fields in which `other` differs, but for those with which a resumed run may go on."""
        names = [field.name for field in fields(self) if not field.metadata.get("free")]
        return [name for name in names if getattr(self, name) != getattr(other, name)]

    def describe(self, names: Sequence[str]) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def save(self, path: str | Path) -> None:
        """Writes the task and all fields as YAML that `load_recipe` and the command line read.

        A file that is there stays whole until then.
        """
        write_whole(path, dump_yaml({"task": self.task, **asdict(self)}))


AnyRecipe = TypeVar("AnyRecipe", bound=Recipe)


class RecipeParser(HfArgumentParser):
    """Makes options of a recipe's fields, all of which begin with two dashes: words with one are values."""

    def add_argument(self, *names: str, free: bool = False, **keywords: Any) -> Action:
        return super().add_argument(*names, **keywords)  # `free` is not argparse's

    def _parse_optional(self, arg_string: str) -> Any:
        is_value = arg_string[:2] != "--" and arg_string not in self._option_string_actions
        return None if is_value else super()._parse_optional(arg_string)


class _RaisingParser(RecipeParser):
    def error(self, message: str) -> None:
        raise ValueError(message)


def load_recipe(
    recipe_class: type[AnyRecipe], path: str | Path | None = None, arguments: Sequence[str] = ()
) -> AnyRecipe:
    """A recipe from its defaults, then a YAML file, then arguments as of a command line; each overrides the former.

    Args:
        recipe_class: That of the task.
        path: YAML file: a mapping from fields to values; null stands for the default. What is text in the recipe is
            taken as it is written, with or without quotes: class names may be no, 010 and 12:30. The entry `base`
            names another file, relative to it, whose fields come first; `task` must be the class's. Or the name of a
            recipe that comes along, such as "small/shapes-segmentation"; a file of this name goes first.
        arguments: Such as `["--learning_rate", "1e-4", "--test_flip", "true", "--model_fields", "mlp_ratio=3"]`.
            Of `model_fields`, each entry is overridden by itself. Values that begin with two dashes are for files.

    Raises:
        ValueError: no such field, a value of another type or out of range; the message names the field.
        OSError: there is no such file.
    """
    parser = _RaisingParser(recipe_class, allow_abbrev=False)
    if path:
        parser.set_defaults(**_typed_fields(recipe_class, path))
    [recipe] = parser.parse_args_into_dataclasses([*arguments], look_for_args_file=False)
    return recipe


def _typed_fields(recipe_class: type[Recipe], path: str | Path) -> dict[str, Any]:
    written = recipe_fields(path)
    task = written.pop("task", None) or recipe_class.task
    if task != recipe_class.task:
        raise ValueError(f"{path} is a recipe for {task}, not for {recipe_class.task}.")
    try:
        return fields_from(recipe_class, written)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def recipe_fields(path: str | Path) -> dict[str, Any]:
    """The fields in a recipe's file and those of its base, as `read_yaml` gives them, and `task` if they say one.

    Args:
        path: As in `load_recipe`.

    Raises:
        ValueError: a file is no YAML of fields, or its own base.
        OSError: there is no such file.
    """
    return _fields_with_base(_recipe_file(Path(path)))


def _recipe_file(path: Path) -> Path:
    """The file itself, or the one in configs/ that has this name."""
    if path.exists():
        return path
    configs = shipped_folder("configs")
    files = {file.relative_to(configs).with_suffix("").as_posix(): file for file in configs.rglob("*.yaml")}
    names = sorted(name for name in files if not name.startswith("accelerate/"))
    name = path.as_posix().removesuffix(".yaml")
    if name not in names:
        raise FileNotFoundError(f"There is no recipe {str(path)!r}: it must be a file, or one of {', '.join(names)}.")
    return files[name]


def _fields_with_base(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    above = (*above, path.resolve())
    if above.count(above[-1]) > 1:
        raise ValueError(f"{path} is its own base: {' -> '.join(map(str, above))}.")
    if len(above) > MAX_BASES:
        raise ValueError(f"{above[0]} has more than {MAX_BASES} bases, one of the other.")
    fields = read_yaml(path)
    base = fields.pop("base", None)
    if base is None:
        return fields
    former = _fields_with_base(_base_file(path, base), above)
    mappings = [name for name, value in fields.items() if isinstance(value, dict)]
    entries = {name: former[name] | fields[name] for name in mappings if isinstance(former.get(name), dict)}
    return former | fields | entries


def _base_file(path: Path, base: Any) -> Path:
    """The file that a recipe's `base` names."""
    if not isinstance(base, str):
        raise ValueError(f"{path}: base must be the name of a file, got base={base!r:.80}.")
    file = path.parent / base
    if not file.is_file():
        raise FileNotFoundError(f"{path}: base must be the name of a file, but there is no {file}.")
    return file
