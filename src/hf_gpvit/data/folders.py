# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""People's own pictures: a folder of class folders, of images and masks, or of images and boxes, becomes a dataset."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import logging

from ..extras import import_extra
from ..files import is_unicode, printable
from .layouts import EXPECTED, Layout, composed, find_layout, folders_in, layout_error, some, unused_files
from .mask_folders import MaskCensus, find_pairs, read_class_names
from .mask_lookalikes import masks_among_classes, masks_beside
from .object_columns import ObjectCensus, has_objects
from .object_folders import object_features, read_part
from .object_sources import find_objects, holds_objects, is_coco
from .pictures import UnreadablePictureError, files_below, looked_at, picture_files


datasets = import_extra("datasets")
logger = logging.get_logger(__name__)

CLASSES_FILE = "classes.json"
OBJECT_TASKS = ("object-detection", "instance-segmentation")
TASKS = ("image-classification", "semantic-segmentation", *OBJECT_TASKS)
TEST_PART = 0.2


def load_folder(
    path: str | os.PathLike,
    task: str | None = None,
    skip_corrupt: bool = False,
    *,
    class_names: Sequence[str] | None = None,
    default_class_names: Sequence[str] | None = None,
    reduce_labels: bool = False,
) -> tuple[datasets.DatasetDict, list[str]]:
    """Load a folder of labelled pictures as a dataset; pictures stay where they are and are decoded on access.

    Image classification: `path/<class>/*.jpg`. Semantic segmentation: `path/images/*.jpg` and `path/masks/*.png` (or
    `annotations`, `labels`, VOC's `JPEGImages` and `SegmentationClass`, ...; in any case of letters) with the same
    names; masks hold class ids in one channel and 255 where nothing is to be learned (65535, of more than 255
    classes). Pictures may lie deeper. Either layout may stand below `path/train` and `path/test` (or `val`, `valid`,
    `validation`, `dev`, `eval`, `holdout`: the first of these that is there), the folders of images and masks may be
    divided so inside; otherwise a fifth of the samples, always the same, becomes the test split. A warning counts and
    names what lies in the folder and isn't used.

    Object detection and instance segmentation: files of COCO's (JSON), of YOLO's tools (a text file for each picture)
    or of Pascal VOC (XML), in the layouts that an error shows; `path` may also be a file of COCO's. Splits are told by
    the names of folders and files, such as `train2017`. Boxes that reach out of their picture are cut when they are
    read, and objects with a side of less than a pixel left out; warnings count both. VOC's difficult objects become
    regions that are neither learned nor counted, as COCO's crowds are.

    Args:
        path: The folder.
        task: "image-classification", "semantic-segmentation", "object-detection" or "instance-segmentation"; by
            default what the layout says, and detection where it has boxes.
        skip_corrupt: Leave samples whose picture or mask can't be read, and objects that can't be used, out, with a
            warning that counts and names them. Default False: raise.
        class_names: Of segmentation: the names of the classes by id. Default: those of `path/classes.json`, which is a
            list, or a dict from id to name or from name to id; else `default_class_names`; else `class_0`, `class_1`
            ..., with a warning that shows how often each id is there, if the ids leave no gap.
        default_class_names: Names where the folder has none, such as those of a model to evaluate. For classification
            and detection they decide the ids of the classes, if all of these are among them. Default: none.
        reduce_labels: Of segmentation: masks have 0 for no class too, and the ids of classes from 1 on. Default False.

    Returns:
        The splits "train" and "test", and the class names in the order of their ids. The columns are `image` (PIL
        image of any mode) and `label` (class id) for classification, `image` and `annotation` (PIL image of mode L, P
        or I;16, as large as `image`) for segmentation, `image`, `objects` (dicts of lists, as `ObjectReader` takes
        them) and `image_id` (that in COCO's file, else a number) for detection.

    Raises:
        ValueError: The layout is none of the above or not that of `task`; a class folder is empty; there is only one
            class; a picture can't be read; an image has no mask or a mask no image, or their sizes differ; a mask has
            several channels or an id without a class; nothing names the classes, and the ids leave gaps or are as many
            as levels of grey; or classes.json is wrong. Of detection: pictures have no file, annotations no picture,
            classes no name, two pictures one id, or boxes are empty, outside of their picture or no numbers. The
            message names the files.
    """
    data = read_folder(
        path,
        task,
        skip_corrupt,
        class_names=class_names,
        default_class_names=default_class_names,
        reduce_labels=reduce_labels,
    )
    return datasets.DatasetDict(data.parts), data.class_names


@dataclass(frozen=True)
class FolderData:
    """What there is in a folder, or in another source.

    Attributes:
        parts: Datasets by split.
        class_names: In the order of their ids. Default: nothing but the parts says which there are.
        category_ids: Ids of the classes in a file of COCO's, in their order. Default: none.
        is_divided: Whether the test part is the source's own. Default True.
    """

    parts: dict[str, datasets.Dataset | datasets.IterableDataset]
    class_names: list[str] | None = None
    category_ids: list[int] | None = None
    is_divided: bool = True


def read_folder(
    path: str | os.PathLike,
    task: str | None = None,
    skip_corrupt: bool = False,
    *,
    class_names: Sequence[str] | None = None,
    default_class_names: Sequence[str] | None = None,
    reduce_labels: bool = False,
    with_train: bool = True,
) -> FolderData:
    """What `load_folder` loads, and more about it.

    Without `with_train`, of detection the part to train on isn't read where there is another one to test on.
    """
    if task not in (None, *TASKS):
        raise ValueError(f"task must be one of {', '.join(TASKS)} or None, got {task!r}.")
    root = Path(path).expanduser().absolute()
    is_detection = task in OBJECT_TASKS or (task is None and holds_objects(root))
    if not (root.is_dir() or (is_detection and is_coco(root))):
        problem = "is a file" if root.exists() else "does not exist"
        raise ValueError(f"{root} {problem}; expected a folder such as\n\n{EXPECTED}")
    if is_detection:
        names = class_names or default_class_names
        data = _objects(root, task == "instance-segmentation", skip_corrupt, names, with_train)
    else:
        data = _classes_or_masks(root, task, skip_corrupt, class_names, default_class_names, reduce_labels)
    if "train" not in data.parts or "test" in data.parts:
        return data
    return replace(data, parts=_split(data.parts["train"]), is_divided=False)


def _classes_or_masks(
    root: Path,
    task: str | None,
    skip_corrupt: bool,
    class_names: Sequence[str] | None,
    default_class_names: Sequence[str] | None,
    reduce_labels: bool,
) -> FolderData:
    layout = find_layout(root)
    if task not in (None, layout.task):
        raise layout_error(root, f"This is the layout of {layout.task}, but task is {task!r}.")
    if layout.task == "image-classification":
        samples, features = _classification(root, layout, skip_corrupt, default_class_names)
        names = features["label"].names
    else:
        samples, names = _segmentation(root, layout, skip_corrupt, class_names, default_class_names, reduce_labels)
        features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    return FolderData({split: _dataset(rows, features) for split, rows in samples.items()}, names)


def _dataset(rows: list[tuple], features: datasets.Features) -> datasets.Dataset:
    columns = zip(*([str(value) if isinstance(value, Path) else value for value in row] for row in rows), strict=True)
    return datasets.Dataset.from_dict(dict(zip(features, map(list, columns), strict=True)), features=features)


# --- classification


def _classification(
    root: Path, layout: Layout, skip_corrupt: bool, default_class_names: Sequence[str] | None
) -> tuple[dict[str, list[tuple]], datasets.Features]:
    """Pictures and labels by split, and what they are."""
    pictures = {split: _class_pictures(root, folder) for split, (folder,) in layout.parts.items()}
    names = _class_names(root, layout, list(pictures["train"]))
    samples = {}
    for split, files in pictures.items():
        [folder] = layout.parts[split]
        unknown = files.keys() - set(names)
        if unknown:
            raise layout_error(root, f"{folder} has classes that {layout.parts['train'][0]} has not: {some(unknown)}.")
        empty = [name for name in files if not files[name]]
        if empty or not files:
            raise layout_error(root, f"No pictures in {some(folder / name for name in empty or [''])}.")
        samples[split] = [(file, name) for name, files in files.items() for file in files]
    _warn_of_unused(root, (file for rows in samples.values() for file, _ in rows))
    for split, rows in samples.items():
        samples[split] = _readable(rows, lambda file, _: looked_at(file, Image.Image.verify), skip_corrupt)
        unread = {name for _, name in rows} - {name for _, name in samples[split]}
        if unread:
            raise ValueError(f"No picture can be read in {some(layout.parts[split][0] / name for name in unread)}.")
    if default_class_names is not None and set(names) <= set(default_class_names):
        names = list(default_class_names)
    return samples, datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})


def _class_names(root: Path, layout: Layout, names: list[str]) -> list[str]:
    [folder] = layout.parts["train"]
    if len(names) < 2:
        only = f"only one class folder, {names[0]!r}" if names else "no class folder"
        raise layout_error(root, f"{folder} has {only}; at least two classes are needed.")
    broken = [name for name in names if not is_unicode(name)]
    if broken:
        raise ValueError(f"These folders in {printable(folder)} have names that are no Unicode text: {some(broken)}.")
    return names


def _class_pictures(root: Path, folder: Path) -> dict[str, list[Path]]:
    """Pictures by class, also those that lie deeper in the folder of a class."""
    pictures: dict[str, list[Path]] = {}
    children = folders_in(folder)
    for child in children:
        name = composed(child.name)
        if name in pictures:
            raise layout_error(
                root, f"Two folders in {folder} look the same, {name}: their accents are written in two ways."
            )
        pictures[name] = picture_files(child)
    _check_are_classes(root, folder, dict(zip(pictures, children, strict=True)), pictures)
    for name, child in zip(pictures, children, strict=True):
        deeper = [file.relative_to(folder) for file in pictures[name] if file.parent != child]
        if deeper:
            logger.warning(
                f"{len(deeper)} pictures deeper in the folder of {printable(name)} count as it: {some(deeper)}"
            )
    return pictures


def _check_are_classes(root: Path, folder: Path, folders: dict[str, Path], pictures: dict[str, list[Path]]) -> None:
    """Refuses folders of whole datasets, and pictures beside their masks, which nobody means as classes."""
    inside = [tuple(child.name for child in folders_in(child)) for child in folders.values()]
    direct = any(file.parent == folders[name] for name, files in pictures.items() for file in files)
    if not direct and len(inside) > 1 and len(set(inside)) == 1 and len(inside[0]) > 1:
        raise layout_error(root, f"No pictures in {some(folders.values())}, but class folders: give one of them.")
    pair = masks_among_classes(pictures)
    if pair is not None:
        names = " and ".join(map(printable, sorted(pair)))
        raise layout_error(root, f"{names} in {folder} look like pictures and their masks, not like two classes.")
    beside = [mask.relative_to(root) for files in pictures.values() for mask in masks_beside(files)]
    if len(beside) > 1:
        raise layout_error(
            root, f"There are masks beside their pictures: {some(beside)}; take them out of the classes."
        )


# --- segmentation


def _segmentation(
    root: Path,
    layout: Layout,
    skip_corrupt: bool,
    class_names: Sequence[str] | None,
    default_class_names: Sequence[str] | None,
    reduce_labels: bool,
) -> tuple[dict[str, list[tuple]], list[str]]:
    """Images and masks by split, and the names of the classes."""
    file = root / CLASSES_FILE
    own_names = read_class_names(file)
    if class_names is not None and own_names is not None and len(class_names) != len(own_names):
        raise ValueError(f"class_names has {len(class_names)} names, but {printable(file)} has {len(own_names)}.")
    names = class_names or own_names or default_class_names
    census = MaskCensus(names, reduce_labels)
    samples = {split: find_pairs(root, *folders) for split, folders in layout.parts.items()}
    _warn_of_unused(root, (file for rows in samples.values() for pair in rows for file in pair))
    for split, rows in samples.items():
        samples[split] = _readable(rows, census.check, skip_corrupt)
        if not samples[split]:
            raise ValueError(f"No sample can be read in {some(layout.parts[split])}.")
    census.check_varied(root)
    if names is None:
        names = census.guessed_names(root)
        logger.warning(
            f"{printable(root)} doesn't say which classes there are: these ids of its masks are taken for them, as "
            f"{names[0]} to {names[-1]}. Name them in {CLASSES_FILE}.\n{census.table()}"
        )
    return samples, list(names)


# --- objects


def _objects(
    root: Path, with_masks: bool, skip_corrupt: bool, wanted_names: Sequence[str] | None, with_train: bool
) -> FolderData:
    """Pictures and objects by split; classes that are all among `wanted_names` get the ids that they have there."""
    source = find_objects(root, with_train)
    own_names = source.class_names
    if own_names is None:
        own_names = list(wanted_names or source.guessed_names())
    is_among = wanted_names is not None and set(own_names) <= set(wanted_names)
    names = list(wanted_names) if is_among else own_names
    class_ids = [names.index(name) for name in own_names]
    census = ObjectCensus(len(own_names), with_masks)
    pictures = {split: source.read(split, census) for split in source.parts}
    features = object_features(names, with_masks, [picture.image_id for part in pictures.values() for picture in part])
    parts: dict[str, datasets.Dataset] = {}
    for split, part in pictures.items():
        num_before = sum(map(len, parts.values()))
        parts[split] = read_part(part, census, source.root, features, class_ids, skip_corrupt, num_before)
    census.close(str(root), skip_corrupt)
    if with_train:
        _warn_of_unused(source.root, source.used.union(picture.file for part in pictures.values() for picture in part))
    for split, part in parts.items():
        if not has_objects(part.select_columns("objects")):
            raise layout_error(source.root, f"There are no objects to {split} on.")
    return FolderData(parts, names, source.category_ids and _rearranged(source.category_ids, class_ids, len(names)))


def _rearranged(category_ids: Sequence[int], class_ids: Sequence[int], num_labels: int) -> list[int]:
    """The file's ids in the order of the classes; new ones of classes that it doesn't have."""
    by_class = dict(zip(class_ids, category_ids, strict=True))
    new = count(max(category_ids) + 1)
    return [by_class[index] if index in by_class else next(new) for index in range(num_labels)]


# --- all


def _readable(samples: list[tuple], check: Callable, skip_corrupt: bool) -> list[tuple]:
    """The samples whose files `check` can read, or its error."""
    readable, errors = [], []
    for sample in samples:
        try:
            check(*sample)
            readable.append(sample)
        except UnreadablePictureError as error:
            if not skip_corrupt:
                raise
            errors.append(error)
    if errors:
        logger.warning(f"{len(errors)} of {len(samples)} samples are left out: {some(errors)}")
    return readable


def _warn_of_unused(root: Path, used) -> None:
    used = {*used, root / CLASSES_FILE}
    used |= {folder for file in used for folder in file.parents}  # which may be links
    unused = unused_files(root, (file for file in files_below(root) if file not in used))
    if unused:
        logger.warning(f"{printable(root)} has files that are not used: {unused}.")


def _split(dataset: datasets.Dataset) -> dict[str, datasets.Dataset]:
    """Four fifths to train and one to test, in proportion to the classes where all have at least two pictures."""
    if len(dataset) < 2:
        raise ValueError("There is only one picture; at least two are needed, one to train and one to test.")
    test_size = max(1, round(len(dataset) * TEST_PART))
    stratify = None
    if "label" in dataset.features:
        counts = np.bincount(dataset["label"])
        if counts.min() >= 2:
            stratify, test_size = "label", max(test_size, len(counts))
    return dataset.train_test_split(test_size=test_size, seed=0, stratify_by_column=stratify)
