# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""From the name of a dataset to its training and test part: drawn scenes, folders, parquet, the Hub."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from huggingface_hub import constants
from transformers.utils import logging

from ..extras import import_extra
from ..files import one_line, printable
from .folders import FolderData, read_folder
from .labels import LABEL_SETS, load_label_set
from .layouts import unused_files
from .object_columns import check_image_ids
from .pictures import files_below, picture_suffixes
from .rows import check_holds_pictures, class_label
from .shapes import NAMES, load_shapes


datasets = import_extra("datasets")
logger = logging.get_logger(__name__)

EVAL_SPLITS = ("test", "validation", "val")
NO_LABELS = (None, -1)  # of a ClassLabel
ROWS_AT_ONCE = 1000
# Test scenes of another seed than the training's, so that they are unseen.
TRAIN_SCENES, TEST_SCENES = {"num_scenes": 4000, "seed": 0}, {"num_scenes": 300, "seed": 1}
HUB_NAME = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


@dataclass(frozen=True)
class LoadedData:
    """What `load_data` gives.

    Attributes:
        train, test: `datasets.Dataset`, or `datasets.IterableDataset` when streamed, with the columns `image` (PIL
            images of any size and mode) and the task's `target_column`: `label` (ClassLabel), `annotation` (PIL images
            of class ids) or `objects` (dicts of lists, as `ObjectReader` takes them), the last with `image_id` (what
            the source calls the picture, else the number of the row; a stream may have none). `train` is None if no
            split to train on was asked for.
        class_names: Names of the classes in the order of their ids.
        test_source: What `test` is, for those who read its figures: `dataset` (see `public_name`) and `split`.
        category_ids: Of detection from a COCO file: the ids that it gives the classes, in their order. Default: none.
    """

    train: Any
    test: Any
    class_names: list[str]
    test_source: dict[str, str] = field(default_factory=dict)
    category_ids: list[int] | None = None


def load_data(
    source: str,
    task: Any,
    *,
    name: str | None = None,
    train_split: str | None = "train",
    eval_split: str | None = None,
    image_column: str = "image",
    target_column: str | None = None,
    class_names: str | Sequence[str] | None = None,
    default_class_names: Sequence[str] | None = None,
    streaming: bool = False,
    skip_corrupt: bool = False,
    reduce_labels: bool = False,
) -> LoadedData:
    """Load the training and the test part of a dataset for `task`.

    Args:
        source: "shapes" (the drawn scenes of `load_shapes`: 4000 and 300), a folder of pictures or a file of COCO's
            as `load_folder` takes it, a folder of parquet files (`train-*.parquet`, or `train/*.parquet`, there or one
            folder below), or the name of a dataset on the Hub.
        task: "image-classification" or another name in `hf_gpvit.tasks.TASKS`, or the class itself.
        name: Configuration of a dataset of parquet files or on the Hub.
        train_split: Split to train on. Splits may be sliced and added: "train[:90%]", "train+validation". None: there
            is nothing to train, and the dataset needs no such split.
        eval_split: Split to test on. Default: the first of test, validation and val that is there and has labels.
        image_column: Column of the pictures. Default "image".
        target_column: Column of the classes (ClassLabel, or with `class_names` also numbers or names), of the pictures
            of class ids, or of the objects. Default: the task's, "label", "annotation" or "objects".
        class_names: The names in the order of their ids, or a label set of `hf_gpvit.data.labels` ("ade20k", "camvid",
            "cityscapes"), also as the only one of a list. Default: those of the ClassLabel column, of the folder or of
            the scenes.
        default_class_names: The names where the dataset has none and `class_names` isn't given, such as those of a
            model to evaluate; see `load_folder`. Default: none, which is an error then, unless a folder's masks have
            ids without gaps.
        streaming: Read parquet files and the Hub while training rather than before, for sets larger than the disk.
        skip_corrupt: Leave pictures of a folder that can't be read, and objects that can't be used, out, with a
            warning, rather than raise. Pictures of other sources are found when they are decoded, and objects of
            streams too: `TrainingSamples` has the same argument, for pictures.
        reduce_labels: Masks have 0 for no class, and the ids of classes from 1 on. Default False.

    Raises:
        ValueError: There is no such task; the source can't be found, read or streamed; a split, a column, labels or
            the class names are missing or of the wrong kind.
    """
    if isinstance(task, str):
        # by name: the tasks are built of this package
        task = import_module("hf_gpvit.tasks").find_task(task)
    given_names = _given_names(class_names, task)
    if _is_own(source):
        if streaming or name is not None:
            option = "streaming" if streaming else f"name {name!r}"
            raise ValueError(f"{option} is for parquet files and the Hub, but the source is {source!r}.")
        names = {"class_names": given_names, "default_class_names": default_class_names}
        own = _load_own(source, task, f"{train_split}+{eval_split}", skip_corrupt, reduce_labels, names)
    else:
        own = FolderData(_load_with_datasets(source, name, streaming))
    parts, own_names = own.parts, own.class_names
    target_column = target_column or task.target_column
    columns = {image_column: "image", target_column: task.target_column}

    def part(split: str):
        dataset = _columns(_split(parts, split, source), columns, task.optional_columns, source)
        dataset = task.typed(dataset, target_column, given_names, source)
        check_holds_pictures(dataset.features.get("image"), image_column, source)
        return dataset

    if eval_split is None:
        eval_split = _eval_split({name: part(name) for name in EVAL_SPLITS if name in parts}, parts, source, task)
        if train_split is None and own_names is not None:
            _warn_of_part(own, source)
    train = None if train_split is None else part(train_split)
    test = part(eval_split)
    if train is not None:
        _warn_of_unused(parts, f"{train_split}+{eval_split}", source)
    for split, dataset in {train_split: train, eval_split: test}.items():
        _check_is_labelled(dataset, split, source, task)
    names = getattr(class_label(test.features[task.target_column]), "names", None)
    names = names or given_names or own_names or default_class_names
    if names is None:
        raise ValueError(
            f"{source!r} doesn't say what its class ids mean: give class_names, a list of the names in the order of "
            'the ids or the name of a label set ("ade20k", "camvid", "cityscapes").'
        )
    if own_names is not None and len(names) < len(own_names):
        raise ValueError(f"class_names has {len(names)} names, but {source!r} has {len(own_names)} classes.")
    if "image_id" in test.features:
        check_image_ids(test, source)
    if own_names is None:

        def checked(dataset, split: str):
            return task.checked(dataset, len(names), f"The split {split} of {source!r}", skip_corrupt)

        train, test = train if train is None else checked(train, train_split), checked(test, eval_split)
    test_source = {"dataset": public_name(source), "split": eval_split}
    return LoadedData(train, test, list(names), test_source, own.category_ids)


def public_name(source: str) -> str:
    """A name on the Hub as it is, and the last part of a path, so that nobody takes it for such a name.

    What is on this disk is a path, even where it looks like "user/name".
    """
    return source if is_hub_name(source) else Path(source).expanduser().resolve().name


def is_hub_name(source: str) -> bool:
    """Whether a dataset or a model of this name comes from the Hub: it looks so, and is no path on this disk."""
    return HUB_NAME.fullmatch(source) is not None and not Path(source).expanduser().exists()


def _given_names(class_names: str | Sequence[str] | None, task: Any) -> list[str] | None:
    if class_names is None:
        return None
    label_set = class_names if isinstance(class_names, str) else None
    if label_set is None and len(class_names) == 1 and (class_names[0] in LABEL_SETS or task.least_num_labels > 1):
        [label_set] = class_names
    names = list(load_label_set(label_set).names if label_set else class_names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise ValueError(f"class_names must be unique names, at least one; {twice or 'none'} given more than once.")
    return names


def _is_own(source: str) -> bool:
    """Whether it is for us to load, rather than for `datasets`."""
    folder = Path(source).expanduser()
    if source == "shapes" or folder.is_file():
        return True
    if folder.is_dir():
        return not any(next(folder.glob(pattern), None) for pattern in ("*.parquet", "*/*.parquet"))
    return not HUB_NAME.fullmatch(source)


def _load_own(
    source: str, task: Any, wanted: str, skip_corrupt: bool, reduce_labels: bool, names: dict[str, Any]
) -> FolderData:
    if source == "shapes":
        parts = {"test": load_shapes(**TEST_SCENES)}
        if "train" in wanted:  # drawing them takes a while
            parts = {"train": load_shapes(**TRAIN_SCENES)} | parts
        return FolderData(parts, list(NAMES[task.target_column]))
    options = names | {"reduce_labels": reduce_labels, "with_train": "train" in wanted}
    return read_folder(source, task.name, skip_corrupt, **options)


def _load_with_datasets(source: str, name: str | None, streaming: bool) -> dict:
    folder = Path(source).expanduser()
    try:
        if folder.is_dir():
            source = str(folder)
            _warn_of_unread(folder, datasets.load_dataset_builder(source, name).config.data_files or {})
        return datasets.load_dataset(source, name, streaming=streaming)
    except Exception as error:  # a login page in place of the Hub's answers can break the libraries anywhere
        where = "" if folder.is_dir() else f" from {constants.ENDPOINT}"
        raise ValueError(
            f"{source!r} is neither 'shapes' nor a folder, nor a dataset that can be loaded{where}: {one_line(error)}"
        ) from error


def _eval_split(candidates: dict, parts: dict, source: str, task: Any) -> str:
    """The first of the candidates that has labels."""
    if not candidates:
        raise ValueError(
            f"{source!r} has none of the splits {', '.join(EVAL_SPLITS)}, but {', '.join(parts)}: give eval_split, "
            'such as "train[90%:]" beside train_split "train[:90%]".'
        )
    for split, dataset in candidates.items():
        if _first_unlabelled(dataset, task) != 0:
            return split
        logger.warning(f"The split {split} of {source!r} has no labels, as where a competition hides them.")
    raise ValueError(f"None of the splits {', '.join(candidates)} of {source!r} has labels: give eval_split.")


def _check_is_labelled(dataset, split: str, source: str, task: Any) -> None:
    row = None if dataset is None else _first_unlabelled(dataset, task)
    if row is not None:
        raise ValueError(
            f"The split {split} of {source!r} has no {task.target_column} in row {row}: give another split."
        )


def _first_unlabelled(dataset, task: Any) -> int | None:
    """The first row with no class, no picture of classes or no objects; of a stream, its very first row is looked at.

    Where no picture has an object, it is the first of all.
    """
    column = task.target_column
    rows = dataset.select_columns([column])
    has_numbers = isinstance(rows.features[column], (datasets.ClassLabel, datasets.Value))
    if isinstance(rows.features[column], datasets.Image):
        rows = rows.cast_column(column, datasets.Image(decode=False))
    if isinstance(rows, datasets.IterableDataset):
        return next((0 for row in islice(rows, 1) if row[column] in NO_LABELS), None)
    missing = (
        target.as_py() in NO_LABELS if has_numbers else target.as_py()
        for batch in rows.with_format("arrow").iter(ROWS_AT_ONCE)
        for target in (batch[column] if has_numbers else batch[column].is_null())
    )
    row = next((row for row, is_missing in enumerate(missing) if is_missing), None)
    return 0 if row is None and not task.has_targets(rows) else row


def _warn_of_unused(parts: dict, used: str, source: str) -> None:
    """Counts and names the splits that are neither trained nor tested on."""
    unused = parts.keys() - set(re.findall(r"\w[\w.-]*", used))
    counts = [
        f"{split} ({len(parts[split])} rows)" if hasattr(parts[split], "__len__") else split
        for split in sorted(unused)
    ]
    if counts:
        logger.warning(f"These splits of {source!r} are not used: {', '.join(counts)}.")


def _warn_of_part(own: FolderData, source: str) -> None:
    """Says that of a folder without a test part of its own only those pictures are tested on that training leaves."""
    if source != "shapes" and not own.is_divided:
        num_used, num_left = len(own.parts["test"]), len(own.parts["train"])
        logger.warning(
            f"{source!r} has no test part: {num_used} of {num_used + num_left} pictures are used, with which training "
            'on this folder would test. The split "train+test" has all of them.'
        )


def _warn_of_unread(folder: Path, data_files: dict) -> None:
    """Counts and names the pictures and parquet files of a folder that `datasets` passes over."""
    read = {str(Path(file).resolve()) for files in data_files.values() for file in files}
    files = [file for file in files_below(folder) if file.suffix.lower() in (".parquet", *picture_suffixes())]
    unread = unused_files(folder, (file for file in files if str(file.resolve()) not in read))
    if unread:
        logger.warning(f"{printable(folder)} has parquet files, and beside those files that are not used: {unread}.")


def _split(parts: dict, split: str, source: str):
    """What `split` says, such as "train", "train[:90%]" or "train+validation"."""
    try:
        if "[" not in split:
            pieces = [parts[piece.strip()] for piece in split.split("+")]
        elif any(isinstance(part, datasets.IterableDataset) for part in parts.values()):
            raise ValueError("a stream can't be sliced")
        else:
            lengths = {name: len(part) for name, part in parts.items()}
            slices = datasets.ReadInstruction.from_spec(split).to_absolute(lengths)
            pieces = [
                parts[piece.splitname].select(range(piece.from_, piece.to))
                for piece in slices
                if piece.from_ < piece.to
            ]
    except (KeyError, ValueError, AssertionError) as error:
        raise ValueError(f"{source!r} has no split {split!r} ({error}); there are {', '.join(parts)}.") from error
    if not pieces:
        raise ValueError(f"The split {split!r} of {source!r} has no rows.")
    return pieces[0] if len(pieces) == 1 else datasets.concatenate_datasets(pieces)


def _columns(dataset, columns: dict[str, str], optional: Sequence[str], source: str):
    """These columns alone, renamed, and those of the others that are there."""
    features = list(dataset.features or ())
    missing = [column for column in columns if column not in features]
    if missing:
        raise ValueError(
            f"{source!r} has no column {', '.join(missing)}, but {', '.join(features) or 'none that is known'}: give "
            "image_column and target_column."
        )
    renamed = {column: new for column, new in columns.items() if column != new}
    present = [column for column in optional if column in features and column not in columns]
    dataset = dataset.select_columns([*columns, *present])
    return dataset.rename_columns(renamed) if renamed else dataset
