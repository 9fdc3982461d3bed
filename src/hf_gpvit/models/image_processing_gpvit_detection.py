# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures into detectors and detections back into pictures, by the rules of the official detectors."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from transformers.image_processing_backends import TorchvisionBackend
from transformers.image_processing_utils import BatchFeature
from transformers.image_transforms import center_to_corners_format
from transformers.image_utils import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    ImageInput,
    PILImageResampling,
    SizeDict,
)
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType, requires_backends

from .detection_boxes import relative_boxes
from .detection_masks import decode_segmentation, paste_mask, resize_mask


def resized_size(height: int, width: int, size: SizeDict) -> tuple[int, int]:
    """Height and width of a picture after it was resized: as large as `size` allows, in its ratio.

    Raises:
        ValueError: `size` says nothing of sides.
    """
    if size.height and size.width:
        return size.height, size.width
    limits = (
        (size.shortest_edge, min(height, width)),
        (size.longest_edge, max(height, width)),
        (size.max_height, height),
        (size.max_width, width),
    )
    scales = [limit / side for limit, side in limits if limit]
    if not scales:
        raise ValueError(
            "size must have shortest_edge and longest_edge, max_height and max_width, or height and width, "
            f"got {dict(size)}."
        )
    return max(1, int(height * min(scales) + 0.5)), max(1, int(width * min(scales) + 0.5))


class GPViTDetectionImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    size_divisor (`int`, *optional*, defaults to 32):
        Without `pad_size`, pictures are padded to multiples of this, as large as the largest of them.
    return_segmentation_masks (`bool`, *optional*):
        Whether labels have masks: by default those of a picture whose annotations all have a segmentation.
    """

    size_divisor: int | None
    return_segmentation_masks: bool | None


class GPViTDetectionImageProcessor(TorchvisionBackend):
    r"""Image processor of [`GPViTForObjectDetection`] and [`GPViTForInstanceSegmentation`].

    Pictures are resized in their ratio, to a shorter side of 800 pixels or a longer one of 1333, normalised by
    ImageNet's mean and standard deviation, and padded with zeros on the right and at the bottom to multiples of 32.

    Args:
        size (`dict[str, int]`, *optional*, defaults to `{"shortest_edge": 800, "longest_edge": 1333}`):
            Pictures become as large as this allows. `{"max_height": ..., "max_width": ...}` will do too;
            `{"height": ..., "width": ...}` gives up their ratio.
        pad_size (`dict[str, int]`, *optional*):
            Height and width that all pictures are padded to, so that any of them make a batch: transformers'
            pipelines put pictures together that were processed one by one.
        size_divisor (`int`, *optional*, defaults to 32):
            Without `pad_size`, pictures are padded to multiples of this, as large as the largest of them.
        return_segmentation_masks (`bool`, *optional*):
            Whether labels have masks: by default those of a picture whose annotations all have a segmentation.
    """

    valid_kwargs = GPViTDetectionImageProcessorKwargs
    model_input_names = ["pixel_values", "pixel_mask"]
    do_convert_rgb = True
    do_resize = True
    size = {"shortest_edge": 800, "longest_edge": 1333}
    default_to_square = False
    resample = PILImageResampling.BILINEAR
    do_rescale = True
    do_normalize = True
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    do_pad = True
    size_divisor = 32

    def __init__(self, **kwargs: Unpack[GPViTDetectionImageProcessorKwargs]):
        requires_backends(self, "torchvision")
        super().__init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        saved = super().to_dict()
        cls = saved.get("auto_map", {}).get("AutoImageProcessor")
        if isinstance(cls, str):
            # by backend: from a name alone, pipelines make that of a video processor, and ask whether to run its code
            saved["auto_map"] = {"AutoImageProcessor": {self.backend: cls}}
        return saved

    def preprocess(
        self,
        images: ImageInput,
        annotations: Mapping[str, Any] | list[Mapping[str, Any]] | None = None,
        **kwargs: Unpack[GPViTDetectionImageProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Args:
            images (`ImageInput`):
                One picture or several.
            annotations (`dict` or `list[dict]`, *optional*):
                Of each picture `image_id` and its `annotations` in COCO's format: `bbox` (x, y, width, height in
                pixels) and `category_id`, an id of the model's; where there are, `area`, `iscrowd` and `segmentation`
                (polygons or RLE). Crowds are left out, and so are boxes with a side of less than a pixel or outside
                of the picture; what reaches out of it is cut off.

        Returns:
            `pixel_values` (B, 3, H, W), `pixel_mask` (B, H, W) with 1 for pixels of pictures, and for annotations
            `labels`: of each picture `class_labels` (N,), `boxes` (N, 4) as centre and size relative to
            `pixel_values`, `area` (N,) in pixels of the resized picture, `iscrowd` (N,), `image_id` (1,), `orig_size`
            (2,), `size` (2,) of `pixel_values`, which boxes are relative to, and `masks` (N, H, W).

        Raises:
            ValueError: annotations aren't one for each picture, or not in COCO's format; the message names picture
                and annotation.
        """
        return super().preprocess(images, annotations, **kwargs)

    def resize(self, image: torch.Tensor, size: SizeDict, **kwargs) -> torch.Tensor:
        height, width = resized_size(*image.shape[-2:], size)
        return super().resize(image, SizeDict(height=height, width=width), **kwargs)

    def _preprocess(
        self,
        images: list[torch.Tensor],
        annotations: Mapping[str, Any] | list[Mapping[str, Any]] | None,
        do_pad: bool,
        pad_size: SizeDict | None,
        size_divisor: int | None,
        return_segmentation_masks: bool | None,
        return_tensors: str | TensorType | None,
        **kwargs,
    ) -> BatchFeature:
        annotations = _one_for_each(annotations, len(images))
        plain = super()._preprocess(images, do_pad=False, pad_size=None, return_tensors=None, **kwargs)
        resized = padded = plain["pixel_values"]
        data = {"pixel_values": resized}
        if do_pad:
            pad_size = pad_size or _common_size(resized, size_divisor or 1)
            padded, pixel_mask = self.pad(resized, pad_size=pad_size, return_mask=True)
            data = {"pixel_values": padded, "pixel_mask": pixel_mask}
        features = BatchFeature(data, tensor_type=return_tensors)
        if annotations is not None:
            labels = [
                _label(index, annotation, return_segmentation_masks, [tuple(image.shape[-2:]) for image in versions])
                for index, (annotation, *versions) in enumerate(zip(annotations, images, resized, padded, strict=True))
            ]
            device = images[0].device
            features["labels"] = [
                BatchFeature({name: value.to(device) for name, value in label.items()}, tensor_type=return_tensors)
                for label in labels
            ]
        return features

    def post_process_object_detection(
        self,
        outputs,
        threshold: float = 0.5,
        target_sizes: TensorType | list[tuple[int, int]] | None = None,
        top_k: int | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Detections in the pictures as they were before they were resized and padded.

        Args:
            outputs ([`GPViTObjectDetectionOutput`] or [`GPViTInstanceSegmentationOutput`]):
                Of the model. Without `pixel_sizes`, boxes are taken to be relative to the pictures, not to what they
                were padded to.
            threshold (`float`, *optional*, defaults to 0.5):
                Detections score more than this.
            target_sizes (`torch.Tensor` of shape `(batch_size, 2)` or `list[tuple[int, int]]`, *optional*):
                Height and width of each picture as it was given to this image processor, from which follows what
                became of it (`size`). By default boxes stay relative to `pixel_values`.
            top_k (`int`, *optional*):
                Number of detections that are looked at, the best ones. By default all.

        Returns:
            Of each picture `scores` (N,), descending, `labels` (N,), and `boxes` (N, 4) as x1, y1, x2, y2.

        Raises:
            ValueError: `target_sizes` aren't one for each picture, or can't be those of these pictures.
        """
        frames = [(1, 1)] * len(outputs.logits) if target_sizes is None else self._frames(outputs, target_sizes)
        return [
            {"scores": found.scores, "labels": found.labels, "boxes": found.boxes}
            for found in _detections(outputs, threshold, frames, top_k)
        ]

    def post_process_instance_segmentation(
        self,
        outputs,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_mask_area_threshold: float = 0.8,
        target_sizes: TensorType | list[tuple[int, int]] | None = None,
        return_binary_maps: bool = False,
        top_k: int | None = None,
    ) -> list[dict[str, Any]]:
        """Masks of detections in the pictures as they were before they were resized and padded.

        Args:
            outputs ([`GPViTInstanceSegmentationOutput`]):
                Of the model.
            threshold (`float`, *optional*, defaults to 0.5):
                Detections score more than this.
            mask_threshold (`float`, *optional*, defaults to 0.5):
                Pixels of an object are those that belong to it with at least this probability; greater than 0.
            overlap_mask_area_threshold (`float`, *optional*, defaults to 0.8):
                In the map, an object of which better ones leave at most this part is left out.
            target_sizes (`torch.Tensor` of shape `(batch_size, 2)` or `list[tuple[int, int]]`, *optional*):
                Height and width of each picture, as above. By default those of `pixel_values`.
            return_binary_maps (`bool`, *optional*, defaults to `False`):
                Whole masks, which may overlap, instead of a map.
            top_k (`int`, *optional*):
                Number of detections that are looked at, the best ones. By default all.

        Returns:
            Of each picture `segmentation`, an int32 map (height, width) with the id of the best object at each pixel
            and -1 where there is none, or with `return_binary_maps` a bool mask (N, height, width) of each of the
            detections of `post_process_object_detection`; and `segments_info`, `id`, `label_id` and `score` of each
            object.

        Raises:
            ValueError: As above, or `mask_threshold` isn't in (0, 1], or `outputs` have no masks.
        """
        if not 0 < mask_threshold <= 1:
            raise ValueError(f"mask_threshold must be a probability in (0, 1], got {mask_threshold}.")
        if getattr(outputs, "pred_masks", None) is None:
            raise ValueError("outputs must have pred_masks, which GPViTForInstanceSegmentation gives.")
        sizes = frames = outputs.pixel_sizes.tolist()
        if target_sizes is not None:
            sizes, frames = _pairs(target_sizes), self._frames(outputs, target_sizes)
        arrange = _whole_masks if return_binary_maps else partial(_map, least_part=overlap_mask_area_threshold)
        results = []
        for image, found in enumerate(_detections(outputs, threshold, frames, top_k)):
            probabilities = outputs.pred_masks[image, found.places].float().sigmoid()
            masks = (
                paste_mask(probability, box, tuple(sizes[image]), mask_threshold)
                for probability, box in zip(probabilities, found.boxes, strict=True)
            )
            segmentation, shown = arrange(masks, torch.zeros(tuple(sizes[image]), device=found.boxes.device))
            segments = [
                {"id": number, "label_id": found.labels[index].item(), "score": found.scores[index].item()}
                for number, index in enumerate(shown)
            ]
            results.append({"segmentation": segmentation, "segments_info": segments})
        return results

    def _frames(self, outputs, target_sizes: TensorType | list[tuple[int, int]]) -> list[tuple[float, float]]:
        """Height and width, in pixels of the original pictures, of what the outputs' boxes are relative to."""
        sizes = _pairs(target_sizes)
        if len(sizes) != len(outputs.logits):
            raise ValueError(f"target_sizes must be one for each of {len(outputs.logits)} pictures, got {len(sizes)}.")
        pixel_sizes = getattr(outputs, "pixel_sizes", None)
        if pixel_sizes is None:
            return sizes
        return [self._frame(size, padded) for size, padded in zip(sizes, _pairs(pixel_sizes), strict=True)]

    def _frame(self, size: tuple[int, int], padded: tuple[int, int]) -> tuple[float, float]:
        resized = resized_size(*size, self.size) if self.do_resize else size
        if resized[0] > padded[0] or resized[1] > padded[1]:
            raise ValueError(
                f"target_sizes must have height and width of the pictures that went through this image processor: "
                f"one of {list(size)} becomes {list(resized)}, but the model saw {list(padded)}."
            )
        return padded[0] * size[0] / resized[0], padded[1] * size[1] / resized[1]


# --- detections


class _Detections(NamedTuple):
    """Of one picture, the best first: scores, labels and places (N,) among the outputs, boxes (N, 4)."""

    scores: torch.Tensor
    labels: torch.Tensor
    boxes: torch.Tensor
    places: torch.Tensor


def _detections(
    outputs, threshold: float, frames: list[tuple[float, float]], top_k: int | None
) -> Iterator[_Detections]:
    """Detections of each picture by the rule that all detectors with a sigmoid have in transformers."""
    num_boxes, num_labels = outputs.logits.shape[1:]
    number = min(num_boxes if top_k is None else top_k, num_boxes * num_labels)
    best = outputs.logits.sigmoid().flatten(1).topk(number, dim=1)
    corners = center_to_corners_format(outputs.pred_boxes)
    for image, (height, width) in enumerate(frames):
        is_found = best.values[image] > threshold
        indices = best.indices[image, is_found]
        places = indices // num_labels
        boxes = corners[image, places] * corners.new_tensor([width, height, width, height])
        yield _Detections(best.values[image, is_found], indices % num_labels, boxes, places)


def _whole_masks(masks: Iterator[torch.Tensor], empty: torch.Tensor) -> tuple[torch.Tensor, Sequence[int]]:
    """(N, H, W) bool, and indices of all."""
    masks = list(masks)
    return torch.stack(masks) if masks else empty.new_zeros((0, *empty.shape), dtype=torch.bool), range(len(masks))


def _map(masks: Iterator[torch.Tensor], empty: torch.Tensor, least_part: float) -> tuple[torch.Tensor, list[int]]:
    """(H, W) int32 with ids from 0 on, and indices of the masks that are in it; better ones come first."""
    segmentation, shown = torch.full_like(empty, -1, dtype=torch.int32), []
    for index, mask in enumerate(masks):
        is_seen = mask & (segmentation == -1)
        if is_seen.sum() > least_part * mask.sum():
            segmentation[is_seen] = len(shown)
            shown.append(index)
    return segmentation, shown


def _pairs(sizes: Any) -> list[tuple[int, int]]:
    """Heights and widths, as numbers."""
    return [(int(height), int(width)) for height, width in sizes]


# --- annotations


class _Object(NamedTuple):
    """`box` is x1, y1, x2, y2 in pixels."""

    category_id: int
    box: tuple[float, float, float, float]
    area: float
    segmentation: Any


def _one_for_each(annotations: Any, number: int) -> list[Mapping[str, Any]] | None:
    """The annotations as a list, of one picture or of several."""
    if isinstance(annotations, Mapping):
        annotations = [annotations]
    if annotations is not None and len(annotations) != number:
        raise ValueError(f"annotations must be one for each of {number} pictures, got {len(annotations)}.")
    return annotations


def _common_size(images: list[torch.Tensor], divisor: int) -> SizeDict:
    height, width = (-(-max(image.shape[axis] for image in images) // divisor) * divisor for axis in (-2, -1))
    return SizeDict(height=height, width=width)


def _label(
    index: int, annotation: Mapping[str, Any], with_masks: bool | None, sizes: list[tuple[int, int]]
) -> dict[str, torch.Tensor]:
    """What a picture's label has, from its annotation and its sizes as it came, resized and padded."""
    original, resized, padded = sizes
    try:
        image_id, objects = _read(annotation, original)
        if with_masks is None:
            with_masks = all(item.segmentation for item in objects)
        masks = _masks(objects, *sizes) if with_masks else None
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(f"annotations of picture {index}: {reason}") from error
    ratio_y, ratio_x = (new / old for new, old in zip(resized, original, strict=True))
    boxes = torch.tensor([item.box for item in objects], dtype=torch.float32).reshape(-1, 4)
    classes = torch.tensor([item.category_id for item in objects], dtype=torch.int64)
    label = {
        "image_id": torch.tensor([image_id]),
        "class_labels": classes,
        "boxes": relative_boxes(boxes * boxes.new_tensor([ratio_x, ratio_y, ratio_x, ratio_y]), padded),
        "area": torch.tensor([item.area * ratio_x * ratio_y for item in objects], dtype=torch.float32),
        "iscrowd": torch.zeros_like(classes),
        "orig_size": torch.tensor(original),
        "size": torch.tensor(padded),
    }
    return label if masks is None else label | {"masks": masks}


def _read(annotation: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, list[_Object]]:
    """Id of a picture, and its objects as far as they are in it; no crowds."""
    image_id = _whole(annotation, "image_id")
    objects = []
    for number, item in enumerate(annotation["annotations"]):
        try:
            found = None if item.get("iscrowd") else _object(item, size)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"object {number}: {reason}") from error
        objects += [] if found is None else [found]
    return image_id, objects


def _object(item: Mapping[str, Any], size: tuple[int, int]) -> _Object | None:
    """None where there is nothing to see of it."""
    height, width = size
    category_id = _whole(item, "category_id")
    box = [float(value) for value in item["bbox"]]
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise ValueError(f"bbox must be x, y, width and height in pixels, got {box}.")
    left, top, box_width, box_height = box
    if box_width < 1 or box_height < 1:
        return None
    corners = max(left, 0), max(top, 0), min(left + box_width, width), min(top + box_height, height)
    if corners[0] >= corners[2] or corners[1] >= corners[3]:
        return None
    area = item.get("area")
    return _Object(
        category_id, corners, box_width * box_height if area is None else float(area), item.get("segmentation")
    )


def _whole(item: Mapping[str, Any], field: str) -> int:
    """A whole number, even if an augmentation has made it a float."""
    value = item[field]
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None or number != value:
        raise ValueError(f"{field} must be an integer, got {value!r:.80}.")
    return number


def _masks(
    objects: list[_Object], original: tuple[int, int], resized: tuple[int, int], padded: tuple[int, int]
) -> torch.Tensor:
    """(N, H, W) bool, in the padded picture."""
    masks = torch.zeros((len(objects), *padded), dtype=torch.bool)
    for mask, item in zip(masks, objects, strict=True):
        decoded = decode_segmentation(item.segmentation, original)
        mask[: resized[0], : resized[1]] = resize_mask(decoded, resized)
    return masks


__all__ = ["GPViTDetectionImageProcessor"]
