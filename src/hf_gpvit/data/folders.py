# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""People's own pictures: a folder of class folders, or of images and masks, becomes a dataset."""

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from transformers.utils import logging

from ..extras import import_extra
from ..files import printable
from .pictures import MASK_MODES, UnreadablePictureError, naming_unreadable, opened_picture
from .transforms import IGNORE_INDEX


datasets = import_extra("datasets")
logger = logging.get_logger(__name__)

TEST_FOLDERS = ("test", "val", "valid", "validation")
MASK_FOLDERS = ("masks", "annotations")
PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
TEST_PART = 0.2
SHOWN = 3

EXPECTED = """\
image classification:        semantic segmentation:
    path/                        path/
        cat/                         images/
            1.jpg                        1.jpg
            2.png                        2.jpg
        dog/                         masks/  (or annotations/)
            3.jpg                        1.png  (one channel of class ids, 255 is ignored)
                                         2.png
                                     classes.json  (optional: the names of the classes)
or the same below path/train/ and path/test/ (or val/, valid/, validation/); classes.json stays in path/."""


def load_folder(
    path: str | os.PathLike, task: str | None = None, skip_corrupt: bool = False
) -> tuple[datasets.DatasetDict, list[str]]:
    """Load a folder of labelled pictures as a dataset; pictures stay where they are and are decoded on access.

    Image classification: `path/<class>/*.jpg`. Semantic segmentation: `path/images/*.jpg` and `path/masks/*.png` (or
    `annotations`) with the same stems; masks hold class ids in one channel and 255 where nothing is to be learned.
    Their class names come from `path/classes.json`: a list, or a dict from id to name or from name to id; without it
    they are `class_0`, `class_1` ... up to the largest id. Either layout may stand below `path/train` and `path/test`
    (or `val`, `valid`, `validation`: the first of these that is there); otherwise a fifth of the samples, always the
    same, becomes the test split.

    Args:
        path: The folder.
        task: "image-classification" or "semantic-segmentation"; by default what the layout says.
        skip_corrupt: Leave samples whose picture or mask can't be read out, with a warning that counts and names
            them. Default False: raise.

    Returns:
        The splits "train" and "test", and the class names in the order of their ids. The columns are `image` (PIL
        image of any mode) and `label` (class id) for classification, `image` and `annotation` (PIL image of mode L, P
        or I;16, as large as `image`) for segmentation.

    Raises:
        ValueError: The layout is none of the above or not that of `task`; a class folder is empty; there is only one
            class; a picture can't be read; an image has no mask or a mask no image, or their sizes differ; a mask has
            several channels or an id without a class; or classes.json is wrong. The message names the files.
    """
    if task not in (None, *LOADERS):
        raise ValueError(f"task must be one of {', '.join(LOADERS)} or None, got {task!r}.")
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise ValueError(f"{root} {problem}; expected a folder such as\n\n{EXPECTED}")
    splits = _split_folders(root)
    found = _task_of(root, splits["train"])
    if task not in (None, found):
        raise _layout_error(root, f"This is the layout of {found}, but task is {task!r}.")
    parts, names = LOADERS[found](root, splits, skip_corrupt)
    if "test" not in parts:
        parts = _split(parts["train"])
    return datasets.DatasetDict(parts), names


def _split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits: `root` itself is "train" where it has none."""
    folders = {folder.name: folder for folder in _folders(root)}
    if not folders:
        raise _layout_error(root, "There are no folders inside.")
    # a vehicle dataset may well have a class "train": such a folder has pictures inside rather than folders
    if not folders.keys() <= {"train", *TEST_FOLDERS} and not ("train" in folders and _folders(folders["train"])):
        return {"train": root}
    if "train" not in folders:
        raise _layout_error(root, "There is no folder train/.")
    splits = {"train": folders["train"]}
    test, *unread = [name for name in TEST_FOLDERS if name in folders] or [None]
    if test is not None:
        splits["test"] = folders[test]
    if unread:
        logger.warning(f"{root}: {test}/ is the test split; {', '.join(unread)} is not read.")
    return splits


def _task_of(root: Path, folder: Path) -> str:
    names = {child.name for child in _folders(folder)}
    if "images" not in names:
        return "image-classification"
    if names.isdisjoint(MASK_FOLDERS):
        raise _layout_error(root, f"{folder} has images/ but neither {'/ nor '.join(MASK_FOLDERS)}/.")
    return "semantic-segmentation"


def _classification(
    root: Path, splits: dict[str, Path], skip_corrupt: bool
) -> tuple[dict[str, datasets.Dataset], list[str]]:
    names = [folder.name for folder in _folders(splits["train"])]
    if len(names) < 2:
        only = f"only one class folder, {names[0]!r}" if names else "no class folder"
        raise _layout_error(root, f"{splits['train']} has {only}; at least two classes are needed.")
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    parts = {}
    for split, folder in splits.items():
        pictures = {child.name: _pictures(child) for child in _folders(folder)}
        unknown = pictures.keys() - set(names)
        if unknown:
            raise _layout_error(root, f"{folder} has classes that {splits['train']} has not: {_some(unknown)}.")
        empty = [name for name, files in pictures.items() if not files]
        if empty or not pictures:
            raise _layout_error(root, f"No pictures in {_some(folder / name for name in empty or [''])}.")
        samples = [(file, name) for name, files in pictures.items() for file in files]
        samples = _readable(samples, lambda file, _: _read(file, Image.Image.verify), skip_corrupt)
        unread = set(pictures) - {name for _, name in samples}
        if unread:
            raise ValueError(f"No picture can be read in {_some(folder / name for name in unread)}.")
        columns = {"image": [str(file) for file, _ in samples], "label": [name for _, name in samples]}
        parts[split] = datasets.Dataset.from_dict(columns, features=features)
    return parts, names


def _segmentation(
    root: Path, splits: dict[str, Path], skip_corrupt: bool
) -> tuple[dict[str, datasets.Dataset], list[str]]:
    names = _class_names(root / "classes.json")
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    parts, ids = {}, set()

    def check(image: Path, mask: Path) -> None:
        ids.update(_mask_ids(image, mask, names))

    for split, folder in splits.items():
        pairs = _readable(_pairs(root, folder), check, skip_corrupt)
        if not pairs:
            raise ValueError(f"No sample can be read in {folder}.")
        columns = {"image": [str(image) for image, _ in pairs], "annotation": [str(mask) for _, mask in pairs]}
        parts[split] = datasets.Dataset.from_dict(columns, features=features)
    if len(ids) < 2:
        raise ValueError(
            f"The masks of {root} have fewer than two classes: their ids are {sorted(ids)}, and 255 is ignored. "
            "Number the classes 0, 1, ...; a foreground of 255 must become 1."
        )
    return parts, names or [f"class_{index}" for index in range(max(ids) + 1)]


LOADERS = {"image-classification": _classification, "semantic-segmentation": _segmentation}


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
        logger.warning(f"{len(errors)} of {len(samples)} samples are left out: {_some(errors)}")
    return readable


def _pairs(root: Path, folder: Path) -> list[tuple[Path, Path]]:
    """Images and masks of one split, paired by stem."""
    mask_folder = next((folder / name for name in MASK_FOLDERS if (folder / name).is_dir()), None)
    if mask_folder is None or not (folder / "images").is_dir():
        raise _layout_error(root, f"{folder} must have images/ and one of {'/, '.join(MASK_FOLDERS)}/.")
    images, masks = _by_stem(folder / "images"), _by_stem(mask_folder)
    other = [mask.name for mask in masks.values() if mask.suffix.lower() != ".png"]
    if other:
        raise ValueError(f"Masks must be PNG files, because other formats may change the ids: {_some(other)}.")
    for label, lone in (
        ("Images without a mask", images.keys() - masks.keys()),
        ("Masks without an image", masks.keys() - images.keys()),
    ):
        if lone:
            names = _some((images | masks)[stem].name for stem in lone)
            raise _layout_error(
                root, f"{label} of the same name in {folder}: {names} ({len(images)} images, {len(masks)} masks)."
            )
    if not images:
        raise _layout_error(root, f"No pictures in {folder / 'images'}.")
    return [(images[stem], masks[stem]) for stem in images]


def _by_stem(folder: Path) -> dict[str, Path]:
    files = {}
    for file in _pictures(folder):
        if file.stem in files:
            raise ValueError(f"Two files of the same name in {folder}: {files[file.stem].name} and {file.name}.")
        files[file.stem] = file
    return files


def _mask_ids(image: Path, mask: Path, names: list[str] | None) -> set[int]:
    """The class ids in `mask`, without 255, after checking it against its image and the classes."""
    mode, size, ids = _read(mask, _mask_contents)
    if mode not in MASK_MODES:
        raise ValueError(
            f"The mask {mask} has the mode {mode}; expected class ids in one channel, 8 or 16 bits: mode L, P or I;16."
        )
    image_size = _read(image, _upright_size)
    if size != image_size:
        raise ValueError(
            f"The mask {mask} has {size[0]}x{size[1]} pixels, but its image {image.name} has "
            f"{image_size[0]}x{image_size[1]}."
        )
    largest = IGNORE_INDEX - 1 if names is None else len(names) - 1
    outside = sorted(index for index in ids if not 0 <= index <= largest)
    if outside:
        source = "expected" if names is None else "classes.json has"
        raise ValueError(
            f"The mask {mask} has the class ids {_some(outside)}; {source} 0 to {largest}, and 255 is ignored."
        )
    return ids


def _mask_contents(picture: Image.Image) -> tuple[str, tuple[int, int], set[int]]:
    """Mode, size and class ids in one go, so that the mask is decoded once."""
    return picture.mode, _upright_size(picture), _ids(picture) - {IGNORE_INDEX}


def _ids(mask: Image.Image) -> set[int]:
    if mask.mode not in MASK_MODES:
        return set()
    ids = np.asarray(mask).ravel()
    if mask.mode == "I":  # up to 2**31, which is more than can be counted one by one
        return set(np.unique(ids).tolist())
    return set(np.flatnonzero(np.bincount(ids)).tolist())


def _class_names(file: Path) -> list[str] | None:
    """The names in classes.json by id, or None without that file."""
    if not file.is_file():
        return None
    try:
        # objects as tuples of pairs, because a dict would lose a name that is there twice
        record = json.loads(file.read_text(encoding="utf-8-sig"), object_pairs_hook=tuple)
        pairs = list(enumerate(record)) if isinstance(record, list) else list(map(_id_and_name, record))
    except (TypeError, ValueError) as error:
        raise ValueError(_json_problem(file, f"it can't be read as such ({error})")) from error
    ids, names = sorted(index for index, _ in pairs), [name for _, name in sorted(pairs, key=lambda pair: pair[0])]
    wrong = [name for name in names if not isinstance(name, str) or not name.strip()]
    if wrong:
        raise ValueError(_json_problem(file, f"these are no names: {_some(wrong)}"))
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(_json_problem(file, f"these names are there more than once: {_some(twice)}"))
    if ids != list(range(len(ids))) or not 2 <= len(ids) <= IGNORE_INDEX:
        raise ValueError(_json_problem(file, f"its ids are {_some(ids)} ({len(ids)} in all)"))
    return names


def _id_and_name(pair: tuple[str, Any]) -> tuple[int, Any]:
    key, value = pair
    return (value, key) if isinstance(value, int) else (int(key), value)


def _json_problem(file: Path, problem: str) -> str:
    return (
        f'{file}: expected a list of names, {{"0": name, ...}} or {{name: 0, ...}} with unique names and each of the '
        f"ids 0, 1, ... once, 2 to 255 classes; {problem}."
    )


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


def _folders(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.is_dir()]


def _pictures(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.suffix.lower() in PICTURE_SUFFIXES and child.is_file()]


def _visible(folder: Path) -> list[Path]:
    # archives made on a Mac bring `__MACOSX` and `._name` along
    return sorted(child for child in folder.iterdir() if not child.name.startswith((".", "__MACOSX")))


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """(width, height) of a photo that the camera marked as turned, once it is decoded."""
    if picture.format == "TIFF":  # Pillow turns these by itself, and tells their upright size before
        return picture.size
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return picture.size[::-1] if turned else picture.size


def _read(file: Path, read: Callable[[Image.Image], Any]) -> Any:
    with naming_unreadable(f"picture {printable(file)}"), opened_picture(file) as picture:
        return read(picture)


def _layout_error(root: Path, problem: str) -> ValueError:
    shown = [root]
    for folder in _folders(root)[:SHOWN]:
        shown += [folder, *_folders(folder)[:SHOWN]]
    found = "\n".join(f"    {folder}: {_contents(folder)}" for folder in shown)
    return ValueError(f"{problem}\n\nFound\n{found}\n\nExpected\n{EXPECTED}")


def _contents(folder: Path) -> str:
    folders, pictures = _folders(folder), _pictures(folder)
    others = [child for child in _visible(folder) if child not in {*folders, *pictures}]
    kinds = {"folder": folders, "picture": pictures, "other file": others}
    counts = [
        f"{len(files)} {kind}{'s' * (len(files) > 1)} ({_some(file.name for file in files)})"
        for kind, files in kinds.items()
        if files
    ]
    return ", ".join(counts) or "nothing"


def _some(items: Iterable) -> str:
    items = sorted(items, key=str) if not isinstance(items, list) else items
    return ", ".join(map(str, items[:SHOWN])) + (", ..." if len(items) > SHOWN else "")
