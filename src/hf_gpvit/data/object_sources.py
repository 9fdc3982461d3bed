# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which format the objects of a folder are in."""

from pathlib import Path

from .coco import coco_source, find_coco, is_coco
from .layouts import MASK_FOLDERS, find_layout, layout_error
from .object_folders import ObjectSource, tree
from .pictures import picture_files
from .voc import find_voc
from .yolo import find_yolo


FORMATS = (find_coco, find_voc, find_yolo)


def find_objects(path: Path, with_train: bool = True) -> ObjectSource:
    """The objects of a folder, or of a file of COCO's whose pictures are beside it or beside its folder.

    Args:
        path: The folder or file.
        with_train: Whether there must be what to train on even beside a test part. Default True.

    Raises:
        ValueError: There are none; the message draws what is expected.
    """
    if path.is_file():
        root = path.parent.parent if path.parent.name.casefold() in MASK_FOLDERS else path.parent
        return coco_source(root, [path], tree(root)[0])
    pictures, others = tree(path)
    if not pictures:
        raise layout_error(path, f"No pictures in {path}.")
    source = _found(path, pictures, others, with_train)
    if source is None:
        raise layout_error(path, f"{path} has no boxes in a format of COCO, YOLO or Pascal VOC.")
    return source


def holds_objects(path: Path) -> bool:
    """Whether a folder or a file is one for detection rather than for another task."""
    if not path.is_dir():
        return is_coco(path)
    pictures, others = tree(path)
    return not _has_masks(path) and _found(path, pictures, others) is not None


def _found(root: Path, pictures: list[Path], others: list[Path], with_train: bool = True) -> ObjectSource | None:
    sources = (find(root, pictures, others, with_train) for find in FORMATS)
    return next((source for source in sources if source is not None), None)


def _has_masks(root: Path) -> bool:
    """Whether there are folders of pictures and masks."""
    try:
        layout = find_layout(root)
    except ValueError:
        return False
    folders = layout.parts.get("train", ())
    return len(folders) == 2 and bool(picture_files(folders[1]))
