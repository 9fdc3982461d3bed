# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""How people lay out their pictures in folders, and how to say what is wrong with that."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..files import printable
from .pictures import is_hidden, picture_files, picture_suffixes


TRAIN_FOLDERS = ("train", "training")
# The first of these that is there is the test part.
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout")
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "annotations", "annotation", "labels", "label", "segmentationclass")
# A class may well be called "image"; these are classes of nothing.
_SURELY_IMAGES = ("images", "jpegimages")
SHOWN = 3

EXPECTED = """\
image classification:        semantic segmentation:
    path/                        path/
        cat/                         images/  (or img/, JPEGImages/, ...)
            1.jpg                        1.jpg
            2.png                        2.jpg
        dog/                         masks/  (or annotations/, labels/, SegmentationClass/, ...)
            3.jpg                        1.png  (one channel of class ids, 255 is ignored)
                                         2.png
                                     classes.json  (optional: the names of the classes)
or the same below path/train/ and path/test/ (or val/, valid/, validation/, dev/, eval/, holdout/), or the folders of
images and masks divided so inside; classes.json stays in path/.

object detection, and instance segmentation where files have masks too:
    COCO        path/annotations/instances_train2017.json and path/train2017/, path/train/_annotations.coco.json beside
                the pictures, or one path/any.json and pictures anywhere in path/
    YOLO        path/data.yaml, path/images/train/1.jpg and path/labels/train/1.txt (or path/train/images/1.jpg and
                path/train/labels/1.txt), or 1.txt beside 1.jpg
    Pascal VOC  path/JPEGImages/1.jpg, path/Annotations/1.xml and path/ImageSets/Main/train.txt, or 1.xml
                beside 1.jpg"""


@dataclass(frozen=True)
class Layout:
    """What `find_layout` finds.

    Attributes:
        task: "image-classification" or "semantic-segmentation".
        parts: By split, "train" and perhaps "test": the folder of the class folders, or those of images and masks.
    """

    task: str
    parts: dict[str, tuple[Path, ...]]


def find_layout(root: Path) -> Layout:
    """The layout of a folder; a ValueError that draws what is expected if it has none."""
    parts = _splits(root, root) or {"train": root}
    pair = _image_and_mask_folders(root, parts["train"])
    if pair is None:
        return Layout("image-classification", {split: (folder,) for split, folder in parts.items()})
    pairs = {split: _image_and_mask_folders(root, folder) for split, folder in parts.items()}
    if None in pairs.values():
        folder = next(folder for split, folder in parts.items() if pairs[split] is None)
        raise layout_error(root, f"{folder} must have images/ and one of masks/, annotations/, ...")
    if parts == {"train": root}:
        pairs = _splits_inside(root, *pair) or pairs
    return Layout("semantic-segmentation", pairs)


def _splits(root: Path, folder: Path) -> dict[str, Path] | None:
    """The folders of the splits in `folder`, None where it isn't divided into them."""
    named: dict[str, list[Path]] = {}
    for child in folders_in(folder):
        named.setdefault(child.name.casefold(), []).append(child)
    if not named:
        raise layout_error(root, f"There are no folders inside {folder}.")
    train = [child for name in TRAIN_FOLDERS for child in named.get(name, ())]
    tests = [child for name in TEST_FOLDERS for child in named.get(name, ())]
    # a vehicle dataset may well have a class "train": such a folder has pictures inside rather than folders
    if len(train) + len(tests) < sum(map(len, named.values())) and not any(map(folders_in, train)):
        return None
    if len(train) != 1:
        problem = (
            f"several folders to train on: {some(child.name for child in train)}" if train else "no folder train/"
        )
        raise layout_error(root, f"{folder} has {problem}.")
    return {"train": train[0]} | ({"test": tests[0]} if tests else {})


def _splits_inside(root: Path, images: Path, masks: Path) -> dict[str, tuple[Path, Path]] | None:
    """images/train/ and masks/train/ rather than train/images/ and train/masks/."""
    if not any(child.name.casefold() in TRAIN_FOLDERS for child in folders_in(images)) or pictures_in(images):
        return None
    inside = {side: _splits(root, side) for side in (images, masks) if folders_in(side)}
    if len(inside) < 2 or None in inside.values() or inside[images].keys() != inside[masks].keys():
        raise layout_error(root, f"{images} is divided into splits, and {masks} isn't in the same way.")
    return {split: (folder, inside[masks][split]) for split, folder in inside[images].items()}


def _image_and_mask_folders(root: Path, folder: Path) -> tuple[Path, Path] | None:
    """The two folders in `folder`, None where it has none of images or no name says so."""
    children = folders_in(folder)
    images = [child for child in children if child.name.casefold() in IMAGE_FOLDERS]
    masks = [child for child in children if child.name.casefold() in MASK_FOLDERS]
    if len(masks) > 1:  # those of VOC's "Annotations" are boxes
        masks = [child for child in masks if picture_files(child)] or masks
    if len(images) == len(masks) == 1:
        return images[0], masks[0]
    if images and masks:
        raise layout_error(
            root, f"{folder} has several folders of images or masks: {some(child.name for child in images + masks)}."
        )
    if any(child.name.casefold() in _SURELY_IMAGES for child in images):
        raise layout_error(root, f"{folder} has {images[0].name}/ but no folder of masks, such as masks/.")
    return None


# --- what is in a folder


def folders_in(folder: Path) -> list[Path]:
    return [child for child in _visible(folder) if child.is_dir()]


def pictures_in(folder: Path) -> list[Path]:
    """Those that lie in the folder itself."""
    suffixes = picture_suffixes()
    return [child for child in _visible(folder) if child.suffix.lower() in suffixes and child.is_file()]


def composed(name: str) -> str:
    """The name in the one of two forms of Unicode that Linux and Windows write: a Mac decomposes accents."""
    return unicodedata.normalize("NFC", name)


def _visible(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not is_hidden(child.name))


# --- messages


def layout_error(root: Path, problem: str) -> ValueError:
    shown = [root]
    for folder in folders_in(root)[:SHOWN]:
        shown += [folder, *folders_in(folder)[:SHOWN]]
    found = "\n".join(f"    {printable(folder)}: {_contents(folder)}" for folder in shown)
    return ValueError(f"{problem}\n\nFound\n{found}\n\nExpected\n{EXPECTED}")


def unused_files(root: Path, files: Iterable[Path]) -> str | None:
    """Counts and names these files, pictures first; None where there are none."""
    suffixes = picture_suffixes()
    kinds = {"picture": [], "linked folder": [], "other file": []}
    for file in files:
        is_picture = file.suffix.lower() in suffixes
        kind = "linked folder" if file.is_dir() else "picture" if is_picture else "other file"
        kinds[kind].append(file.relative_to(root))
    return _counted(kinds) or None


def _contents(folder: Path) -> str:
    folders, pictures = folders_in(folder), pictures_in(folder)
    others = [child for child in _visible(folder) if child not in {*folders, *pictures}]
    kinds = {"folder": folders, "picture": pictures, "other file": others}
    return _counted({kind: [file.name for file in files] for kind, files in kinds.items()}) or "nothing"


def _counted(kinds: dict[str, list]) -> str:
    return ", ".join(
        f"{len(names)} {kind}{'s' * (len(names) > 1)} ({some(names)})" for kind, names in kinds.items() if names
    )


def some(items: Iterable) -> str:
    items = sorted(items, key=str) if not isinstance(items, list) else items
    return ", ".join(printable(str(item)) for item in items[:SHOWN]) + (", ..." if len(items) > SHOWN else "")
