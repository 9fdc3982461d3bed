# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Puts faults of one line into a copy of the detectors' code and says which of them the default tests notice.

    PYTHONPATH=src:tests/support python tests/support/mutate_detection.py [words of a fault's name]

Takes about five seconds for each fault. Exits with the number of faults that nothing notices.
"""

import multiprocessing
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch
import torchvision  # noqa: F401 (imported once for all faults)
import transformers.models.auto.modeling_auto  # noqa: F401


ROOT = Path(__file__).parents[2]
# The fastest first.
TESTS = [
    f"tests/models/{name}.py"
    for name in ("test_detection_networks", "test_detection_boxes", "test_detection_losses", "test_detection_models")
] + ["tests/models/test_bad_input.py"]
CHOICE = "not heart and not hrvit and not gpvit"

ADAPTER, CONFIG = "modeling_gpvit_adapter.py", "configuration_gpvit_detection.py"
BOXES, HEADS, LOSSES = "detection_boxes.py", "detection_heads.py", "detection_losses.py"
REGIONS, MODEL, INPUTS = "detection_regions.py", "modeling_gpvit_detection.py", "inputs.py"

# (file, what is there once, what takes its place, name)
FAULTS = [
    # --- adapter
    (ADAPTER, "dtype=torch.float32) + 0.5) / side", "dtype=torch.float32)) / side", "points at cells' corners"),
    (
        ADAPTER,
        "torch.stack([x.expand(height, width), y[:, None].expand(height, width)]",
        "torch.stack([y[:, None].expand(height, width), x.expand(height, width)]",
        "points as (y, x)",
    ),
    (ADAPTER, "(width, height), offsets.dtype", "(height, width), offsets.dtype", "offsets' sides swapped"),
    (ADAPTER, "places = (2 * places - 1)", "places = (2 * places)", "points off by a half"),
    (ADAPTER, 'padding_mode="zeros"', 'padding_mode="border"', "border goes on outside"),
    (ADAPTER, "align_corners=False", "align_corners=True", "corners aligned"),
    (
        ADAPTER,
        "points[: hidden_states.shape[1]]",
        "points[-hidden_states.shape[1] :]",
        "injector has the coarse maps' points",
    ),
    (
        ADAPTER,
        "for level, row in zip(levels, self.level_embeddings,",
        "for level, row in zip(levels, self.level_embeddings.flip(0),",
        "level order of embeddings",
    ),
    (ADAPTER, "offsets[:, :, :, level], weights[", "offsets[:, :, :, 0], weights[", "all levels look alike"),
    (
        ADAPTER,
        "weights = weights.unflatten(-1, (self.num_levels, self.num_points))",
        "weights = F.normalize(weights.unflatten(-1, (self.num_levels, self.num_points)), p=1, dim=-1)",
        "softmax of each level",
    ),
    (ADAPTER, "hidden_states + self.layer_scale * injected", "hidden_states + injected", "no layer scale"),
    (ADAPTER, "features = features + self.attention(", "features = self.attention(", "no residual of extractors"),
    (ADAPTER, "self.drop_path(self.mlp(self.mlp_norm(features)", "self.drop_path(self.mlp((features)", "no MLP norm"),
    (ADAPTER, "* (index == last)", "* (index == 0)", "extra extractors come first"),
    (ADAPTER, "self.fc2(F.gelu(", "self.fc2(F.relu(", "ReLU"),
    (ADAPTER, "layers[first : last + 1]", "layers[first:last]", "a layer is left out"),
    (
        ADAPTER,
        "resize_bilinear(tokens, maps[stage].shape[-2:])",
        "F.interpolate(tokens, size=maps[stage].shape[-2:], mode='bilinear', antialias=True)",
        "quarter scale averages all 16",
    ),
    (ADAPTER, "crop_map(upsampled, (height, width))", "upsampled[:, -height:, -width:]", "cropped at the other end"),
    (
        ADAPTER,
        "kernel_size=3, stride=2, padding=1)\n        maps",
        "kernel_size=2, stride=2, ceil_mode=True)\n        maps",
        "pooling",
    ),
    (ADAPTER, "ADAPTER_NORM_EPS = 1e-6", "ADAPTER_NORM_EPS = 1e-5", "epsilon"),
    (ADAPTER, "DropPath(config.drop_path_rate)", "DropPath(0.0)", "extractors' drop path"),
    (ADAPTER, " // module.groups", "", "fan of depthwise convolutions"),
    (ADAPTER, "torch.arange(1, module.num_points + 1,", "torch.arange(0, module.num_points,", "first points stand"),
    (
        ADAPTER,
        "directions / directions.abs().max(dim=-1, keepdim=True).values",
        "directions",
        "first points on circles",
    ),
    (
        ADAPTER,
        "init.normal_(module.level_embeddings)",
        "init.normal_(module.level_embeddings, std=0.02)",
        "small embeddings",
    ),
    # --- boxes
    (BOXES, "[-widths, -heights, widths, heights]", "[-heights, -widths, heights, widths]", "ratio upside down"),
    (BOXES, "widths, heights], dim=-1) / 2", "widths, heights], dim=-1).div(2).round()", "anchors rounded"),
    (
        BOXES,
        "(ratios.sqrt()[:, None] * scales).flatten()",
        "(scales[:, None] * ratios.sqrt()).flatten()",
        "ratio order",
    ),
    (
        BOXES,
        "dtype=torch.float32) * stride",
        "dtype=torch.float32) * stride + stride / 2",
        "anchors at cells' centres",
    ),
    (BOXES, ".clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)", ".clamp(max=MAX_LOG_RATIO)", "clamp from above only"),
    (BOXES, ".clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)", "", "no clamp"),
    (BOXES, "math.log(1000 / 16)", "math.log(1000 / 32)", "another clamp"),
    (BOXES, "image_sizes.flip(-1)", "image_sizes", "clipped to width and height swapped"),
    (BOXES, "boxes.clamp(min=0).minimum", "boxes.minimum", "not clipped at the top left"),
    (BOXES, " - corner).clamp(min=0)", " - corner)", "IoU of boxes apart"),
    (BOXES, "best >= self.foreground", "best > self.foreground", "foreground >"),
    (BOXES, "best < self.background", "best <= self.background", "background <="),
    (BOXES, "torch.where(later > 0, later - 1, matches)", "matches", "low-quality matches off"),
    (BOXES, "(best_of_box >= self.least)", "(best_of_box > self.least)", "least >"),
    (BOXES, " & (best_of_box >= self.least)", "", "no least IoU"),
    (
        BOXES,
        "torch.where(later > 0, later - 1,",
        "torch.where(later > 0, ious.argmax(dim=1),",
        "anchors keep their best",
    ),
    (
        BOXES,
        "later = (takes * order).max(dim=1).values",
        "later = torch.where(takes.any(dim=1), takes.long().argmax(dim=1) + 1, 0)",
        "earlier objects win",
    ),
    (BOXES, "int(number * positive_fraction)", "number", "no greatest part of objects"),
    (BOXES, "number - positive.shape[0]", "number - int(number * positive_fraction)", "background doesn't fill up"),
    (BOXES, "torch.randperm(", "torch.arange(", "samples not random"),
    (BOXES, "(matches == BACKGROUND).nonzero()", "(matches < 0).nonzero()", "unused anchors sampled"),
    # --- losses
    (LOSSES, "number += chosen.shape[0]", "number = chosen.shape[0]", "RPN normaliser per image"),
    (LOSSES, "number += chosen.shape[0]", "number += positive.shape[0]", "RPN normaliser of objects"),
    (LOSSES, "(deltas[image, positive] - targets).abs()", "(deltas[image, positive] - targets).square()", "RPN L2"),
    (
        LOSSES,
        "number += max(positive.shape[0], 1)",
        "number = max(positive.shape[0], 1)",
        "RetinaNet normaliser per image",
    ),
    (LOSSES, "number += max(positive.shape[0], 1)", "number += positive.shape[0]", "empty images don't count"),
    (
        LOSSES,
        "torch.where(targets == 1, alpha, 1 - alpha)",
        "torch.where(targets == 1, 1 - alpha, alpha)",
        "focal alpha swapped",
    ),
    (LOSSES, "weights * wrong**gamma", "weights * wrong", "no focal gamma"),
    (LOSSES, "targets == 1, -logits, logits)", "targets == 1, logits, -logits)", "focal on what is right"),
    (
        LOSSES,
        "focal_loss(logits[image, used], targets[used],",
        "focal_loss(logits[image], targets,",
        "unused anchors are background",
    ),
    (LOSSES, "anchors.shape[:1], UNUSED", "anchors.shape[:1], -1", "padding is background"),
    (
        LOSSES,
        "class_labels[matches[positive]]] = 1",
        "class_labels[matches[positive] * 0]] = 1",
        "classes of the first object",
    ),
    (
        LOSSES,
        '"loss_box": regressions / number,',
        '"loss_box": regressions / max(len(positive), 1),',
        "box normaliser of objects",
    ),
    (LOSSES, "deltas[positive, labels[positive]]", "deltas[positive, 0]", "boxes of one class"),
    (LOSSES, "device=labels.device), labels]", "device=labels.device), 0]", "masks of one class"),
    (LOSSES, "max(targets.numel(), 1)", "max(labels.numel(), 1)", "mask normaliser"),
    # --- regions
    (REGIONS, "            aligned=True,\n", "            aligned=False,\n", "regions not aligned"),
    (REGIONS, "            sampling_ratio=0,\n", "            sampling_ratio=2,\n", "regions sampled twice"),
    (
        REGIONS,
        "output_size=side, sampling_ratio=0, aligned=True)",
        "output_size=side, sampling_ratio=0)",
        "masks not aligned",
    ),
    (REGIONS, "(cut[:, 0] >= 0.5).to(boxes.dtype)", "cut[:, 0]", "masks not binarised"),
    (REGIONS, "cut[:, 0] >= 0.5", "cut[:, 0] > 0.5", "half a cell is none"),
    (REGIONS, "FINEST_SIDE = 56", "FINEST_SIDE = 224", "canonical side"),
    (REGIONS, ".log2().floor()", ".log2().round()", "levels rounded"),
    (REGIONS, "1 / strides[level]", "1 / strides[0]", "scale of the finest level"),
    (REGIONS, "groups[image, index], threshold", "groups[image, index] * 0, threshold", "classes suppress each other"),
    (REGIONS, "(1, 0), value=image)", "(1, 0), value=0)", "all regions to learn from in the first image"),
    (REGIONS, "images = torch.arange(", "images = 0 * torch.arange(", "all regions in the first image"),
    # --- heads
    (HEADS, 'mode="nearest"', 'mode="bilinear"', "top-down bilinear"),
    (
        HEADS,
        "F.max_pool2d(maps[-1], kernel_size=1, stride=2)",
        "F.max_pool2d(maps[-1], 2, ceil_mode=True)",
        "coarsest level by maxima",
    ),
    (
        HEADS,
        "maps.append(convolution(maps[-1]))",
        "maps.append(convolution(F.relu(maps[-1])))",
        "ReLU between extra levels",
    ),
    (HEADS, "dense.permute(0, 2, 3, 1)", "dense.permute(0, 3, 2, 1)", "columns before rows"),
    (HEADS, "values).float()", "values)", "half precision of anchors' outputs"),
    (HEADS, "F.relu(self.convolution(feature_map))", "self.convolution(feature_map)", "RPN without ReLU"),
    (
        HEADS,
        "self.deltas(self.box_convolutions(feature_map))",
        "self.deltas(self.class_convolutions(feature_map))",
        "one stack",
    ),
    (HEADS, "F.relu(self.upsampling(", "(self.upsampling(", "masks without ReLU"),
    (HEADS, "init.constant_(module.classifier.bias, RARE)", "pass", "objects aren't rare"),
    (
        HEADS,
        "init.normal_(module.deltas.weight, std=0.001)",
        "init.normal_(module.deltas.weight, std=0.01)",
        "deltas' beginning",
    ),
    (HEADS, "init.xavier_uniform_(module.hidden.weight)", "pass", "hidden layer's beginning"),
    # --- detectors
    (MODEL, "(self.image_sizes + PADDING - 1) // PADDING * PADDING", "self.image_sizes", "padding to 32 unused"),
    (MODEL, "stride < padded[:, axis, None]", "stride <= padded[:, axis, None]", "a cell beyond"),
    (
        MODEL,
        "config.rpn_pre_nms_top_n_train if self.training",
        "config.rpn_pre_nms_top_n_train if not self.training",
        "proposals of the other mode",
    ),
    (MODEL, "boxes = clip_boxes(boxes, scene.image_sizes)\n        exists", "exists", "proposals not clipped"),
    (MODEL, "(boxes[..., 2:] > boxes[..., :2])", "(boxes[..., 2:] >= boxes[..., :2])", "proposals without area"),
    (MODEL, "torch.full_like(places, level)", "torch.full_like(places, 0)", "levels suppress each other"),
    (MODEL, "exists, config.rpn_nms_threshold", "exists, config.nms_threshold", "proposals' threshold"),
    (
        MODEL,
        "best_boxes(boxes, scores, exists, config.rpn_post_nms_top_n)",
        "best_boxes(boxes, scores, exists, top_n)",
        "number of proposals",
    ),
    (
        MODEL,
        "scores.masked_fill(~exists, -math.inf).topk",
        "scores.masked_fill(exists, -math.inf).topk",
        "the worst proposals",
    ),
    (
        MODEL,
        "least=threshold)\n\n    def forward(self, scene: Scene) ->",
        "least=0.0)\n\n    def forward(self, scene: Scene) ->",
        "RPN takes all",
    ),
    (
        MODEL,
        "config.retina_bg_iou_threshold, least=0.0",
        "config.retina_bg_iou_threshold, least=0.4",
        "RetinaNet's least",
    ),
    (MODEL, "scores > config.score_threshold", "scores >= config.score_threshold", "score threshold >="),
    (
        MODEL,
        "config.score_threshold, config.nms_threshold",
        "config.score_threshold, config.rpn_nms_threshold",
        "detections' threshold",
    ),
    (MODEL, "labels.append(indices % num_labels)", "labels.append(indices // num_labels)", "classes of pairs"),
    (
        MODEL,
        "places = indices // num_labels",
        "places = indices % logits[level].shape[1]",
        "anchors of pairs",
    ),
    (MODEL, "flatten(1), top_n)", "flatten(1), top_n * num_labels)", "top anchors instead of pairs"),
    (MODEL, "softmax(dim=-1)[:, :-1]", "softmax(dim=-1)[:, 1:]", "background first"),
    (MODEL, "config.score_threshold) - 1 if", "config.score_threshold) - 2 if", "too few classes of a region"),
    (MODEL, "* exists[..., None]\n        # classes", "* 1\n        # classes", "regions that don't exist"),
    (
        MODEL,
        "region[: indices.shape[0]], BOX_STDS)",
        "region[: indices.shape[0]], UNIT_STDS)",
        "deviations in learning",
    ),
    (
        MODEL,
        "pick(regions, places), BOX_STDS)",
        "pick(regions, places), UNIT_STDS)",
        "deviations in detection",
    ),
    (MODEL, "torch.full_like(negative, config.num_labels)", "torch.full_like(negative, 0)", "background is a class"),
    (MODEL, "boxes = torch.cat([objects, boxes])\n", "boxes = torch.cat([boxes, objects])\n", "objects last"),
    (
        MODEL,
        "matches = self.matcher(boxes, objects)\n",
        "matches = self.matcher(torch.cat([objects, boxes]), objects)[len(objects):]\n",
        "objects matched too",
    ),
    (
        MODEL,
        "pick(logits, detections.labels.reshape(-1, 1))",
        "pick(logits, detections.labels.reshape(-1, 1) * 0)",
        "masks of the first class",
    ),
    (MODEL, "strides = (8, 16, 32, 64, 128)", "strides = (8, 16, 32, 61, 122)", "strides by division"),
    (MODEL, "detect(clip_boxes(boxes, scene.image_sizes), best", "detect(boxes, best", "detections not clipped"),
    (
        MODEL,
        "boxes = clip_boxes(torch.cat(boxes, dim=1), scene.image_sizes)",
        "boxes = torch.cat(boxes, dim=1)",
        "RetinaNet's not clipped",
    ),
    (
        MODEL,
        'absolute_boxes(label["boxes"].to(device).float(), size)',
        'absolute_boxes(label["boxes"].to(device).float(), size[::-1])',
        "targets' sides swapped",
    ),
    (
        MODEL,
        "relative_boxes(detections.boxes, size)",
        "relative_boxes(detections.boxes, size[::-1])",
        "boxes' sides swapped",
    ),
    (MODEL, "coarsest_norm_stride = 128", "coarsest_norm_stride = 32", "RetinaNet's coarsest map unknown"),
    (
        INPUTS,
        "is_image.any(dim=2).sum(dim=1), is_image.any(dim=1).sum(dim=1)",
        "is_image.any(dim=1).sum(dim=1), is_image.any(dim=2).sum(dim=1)",
        "mask's sides swapped",
    ),
    (MODEL, "best.clamp(min=0)", "best", "scores of what a small image lacks"),
    (CONFIG, "4 * 2 ** (third / 3)", "float(int(4 * 2 ** (third / 3)))", "whole octaves"),
    (CONFIG, "else [8.0]", "else [4.0]", "anchors' side"),
]


class FirstFailure:
    """A pytest plugin."""

    def __init__(self, found):
        self.found = found

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.found.put(report.nodeid.rpartition("::")[2])

    pytest_collectreport = pytest_runtest_logreport


def run_tests(source: Path, found: multiprocessing.Queue) -> None:
    sys.path.insert(0, str(source))
    arguments = ["-x", "-o", "addopts=", "-p", "no:terminal", "-p", "no:cacheprovider", "-k", CHOICE, *TESTS]
    code = pytest.main(arguments, plugins=[FirstFailure(found)])
    found.put(None if code == pytest.ExitCode.OK else f"pytest ended with {code!r}")


def fails(code: Path) -> str | None:
    """The first test that fails with the package in this folder; a process that has imported all but it tries it."""
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    process = context.Process(target=run_tests, args=(code, found))
    process.start()
    killer = found.get(timeout=900)
    process.join()
    return killer


def main(words: list[str]) -> int:
    chosen = [fault for fault in FAULTS if not words or " ".join(words) in fault[3]]
    survivors = 0
    os.chdir(ROOT)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder, "src")
        shutil.copytree(ROOT / "src", code)
        if killer := fails(code):
            raise SystemExit(f"Without any fault {killer} fails.")
        for file, old, new, name in chosen:
            path = code / "hf_gpvit" / "models" / file
            text = path.read_text(encoding="utf-8")
            if text.count(old) != 1:
                raise SystemExit(f"{file} has {old!r} {text.count(old)} times.")
            path.write_text(text.replace(old, new), encoding="utf-8")
            killer = fails(code)
            path.write_text(text, encoding="utf-8")
            survivors += killer is None
            print(f"{file:32} {name:42} {killer or 'NOT NOTICED'}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} noticed")
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
