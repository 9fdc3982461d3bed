# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Small folders of pictures with boxes, as COCO, YOLO and Pascal VOC lay them out."""

import json

from PIL import Image


SIZE = (40, 30)


def picture(path, size=SIZE, color=(200, 100, 50), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)
    return path


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


def coco_record(names, boxes=((4, 3, 10, 8),), categories=((1, "cat"), (7, "dog")), first_id=0):
    """Pictures of these names, each with these boxes, whose classes take turns."""
    ids = [index for index, _ in categories]
    images = [
        {"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
        for number, name in enumerate(names, start=first_id)
    ]
    annotations = [
        {"id": 0, "image_id": image["id"], "category_id": ids[number % len(ids)], "bbox": list(box), "iscrowd": 0}
        for image in images
        for number, box in enumerate(boxes)
    ]
    for number, annotation in enumerate(annotations):
        annotation["id"] = number
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name, "supercategory": "thing"} for index, name in categories],
    }


def coco_file(path, names, **options):
    return text(path, json.dumps(coco_record(names, **options)))


def voc_file(path, objects=(("cat", (5, 4, 14, 11)),), size=SIZE, **flags):
    """Objects are names and boxes x1, y1, x2, y2, in pixels from 1 on."""
    entries = "".join(
        f"<object><name>{name}</name>{''.join(f'<{key}>{value}</{key}>' for key, value in flags.items())}<bndbox>"
        + "".join(f"<{key}>{value}</{key}>" for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        + "</bndbox></object>"
        for name, box in objects
    )
    shape = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return text(path, f"<annotation><filename>{path.stem}.jpg</filename>{shape}{entries}</annotation>")
