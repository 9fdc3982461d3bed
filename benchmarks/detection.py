# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Time and peak memory of detectors on one picture: ours beside torchvision's of the same kind, in one run.

    python benchmarks/detection.py
    python benchmarks/detection.py --models gpvit-l1-mask_rcnn maskrcnn_resnet50_fpn_v2 --size 800x1280 --threads 2

Every model runs once a round, in a process of its own: one pass that is not timed, then the quickest of `--calls`.
Times are compared within a round. Memory is the most that was resident in the process, less what was before the model
was built. Weights are random, but for the last biases: every region, or anchor, scores above the threshold, so that
there is as much to sort, to suppress and to cut masks for as in pictures full of objects.

Writes detection.md and detection.json into the output folder.
"""

import math
import multiprocessing
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import nn
from torchvision.models import detection

from hf_gpvit import GPViTDetectionConfig, GPViTForInstanceSegmentation, GPViTForObjectDetection
from machine import describe_machine
from own_process import peak_bytes
from report import MEBIBYTE, machine_text, markdown_table, save
from speed import positive, size


NUM_LABELS = 80
SCORE = 0.1  # the threshold is 0.05


def ours(preset: str, detector_type: str, height: int, width: int) -> nn.Module:
    """Takes a picture as it is, whatever its size."""
    config = GPViTDetectionConfig.from_preset(preset, detector_type=detector_type, num_labels=NUM_LABELS)
    if detector_type == "retinanet":
        model = GPViTForObjectDetection(config)
        raise_all(model.detector.head.classifier)
        return model
    model = GPViTForInstanceSegmentation(config)
    raise_one(model.detector.box_head.classifier)
    return model


def torchvision_mask_rcnn(height: int, width: int) -> nn.Module:
    model = detection.maskrcnn_resnet50_fpn_v2(
        weights=None, weights_backbone=None, num_classes=1 + NUM_LABELS, **unresized(height, width)
    )
    raise_one(model.roi_heads.box_predictor.cls_score)
    return model


def torchvision_retinanet(height: int, width: int) -> nn.Module:
    model = detection.retinanet_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=NUM_LABELS,
        detections_per_img=100,
        **unresized(height, width),
    )
    raise_all(model.head.classification_head.cls_logits)
    return model


def unresized(height: int, width: int) -> dict[str, int]:
    """Arguments with which torchvision's detectors leave a picture as large as it is."""
    return {"min_size": min(height, width), "max_size": max(height, width)}


def raise_all(classifier: nn.Conv2d) -> None:
    """Every class of every anchor scores about `SCORE`."""
    nn.init.constant_(classifier.bias, math.log(SCORE / (1 - SCORE)))


def raise_one(classifier: nn.Linear) -> None:
    """One class of every region scores about `SCORE`, and all others less than the threshold."""
    nn.init.zeros_(classifier.bias)
    with torch.no_grad():
        classifier.bias[1] = math.log(NUM_LABELS * SCORE / (1 - SCORE))


_PEERS = {"maskrcnn_resnet50_fpn_v2": torchvision_mask_rcnn, "retinanet_resnet50_fpn_v2": torchvision_retinanet}
_KINDS = {"mask_rcnn": "maskrcnn_resnet50_fpn_v2", "retinanet": "retinanet_resnet50_fpn_v2"}
MODELS: dict[str, Callable[[int, int], nn.Module]] = _PEERS | {
    f"{preset}-{kind}": partial(ours, preset, kind) for kind in _KINDS for preset in GPViTDetectionConfig.presets()
}
DEFAULT = ("maskrcnn_resnet50_fpn_v2", "gpvit-l1-mask_rcnn", "retinanet_resnet50_fpn_v2", "gpvit-l1-retinanet")


def peer_of(name: str) -> str:
    """The model of torchvision's that a model is compared to."""
    return name if name in _PEERS else _KINDS[name.rpartition("-")[2]]


def measure(name: str, height: int, width: int, threads: int, calls: int) -> dict[str, float]:
    """Seconds, bytes, parameters and detections of a model; to be called in a new process."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = peak_bytes()
    model = MODELS[name](height, width).eval()
    picture = torch.rand(3, height, width)
    pictures = [picture] if name in _PEERS else picture[None]
    with torch.inference_mode():
        seconds, outputs = zip(*(timed(model, pictures) for _ in range(1 + calls)), strict=True)
    found = outputs[0][0]["scores"] if name in _PEERS else outputs[0].logits.sigmoid().amax(-1)
    return {
        "seconds": min(seconds[1:]),
        "memory_bytes": peak_bytes() - before,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "detections": (found > 0).sum().item(),
    }


def timed(model: nn.Module, pictures: list[torch.Tensor] | torch.Tensor) -> tuple[float, object]:
    start = perf_counter()
    outputs = model(pictures)
    return perf_counter() - start, outputs


def run_rounds(names: Sequence[str], rounds: int, *arguments) -> dict[str, list[dict[str, float]]]:
    """What `measure` gives in each round, by model."""
    measured = {name: [] for name in names}
    for index in range(rounds):
        for name in names:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                measured[name].append(process.apply(measure, (name, *arguments)))
        print(f"round {index + 1} of {rounds}", flush=True)
    return measured


def rows_of(measured: dict[str, list[dict[str, float]]]) -> list[dict]:
    """One for each model, with its time and memory in units of its peer's."""
    rows = []
    for name, rounds in measured.items():
        peers = measured[peer_of(name)]
        ratios = [own["seconds"] / peer["seconds"] for own, peer in zip(rounds, peers, strict=True)]
        memory = median(own["memory_bytes"] for own in rounds)
        rows.append(
            {
                "model": name,
                "parameters": rounds[0]["parameters"],
                "detections": rounds[0]["detections"],
                "seconds": [own["seconds"] for own in rounds],
                "ratio": median(ratios),
                "ratio_least": min(ratios),
                "ratio_greatest": max(ratios),
                "memory_bytes": memory,
                "memory_ratio": memory / median(peer["memory_bytes"] for peer in peers),
            }
        )
    return rows


def table(rows: Sequence[dict]) -> str:
    """Markdown, one line for a row."""
    lines = [["model", "parameters (M)", "s", "ratio", "range", "memory (MB)", "ratio"]]
    for row in rows:
        lines.append(
            [
                row["model"],
                f"{row['parameters'] / 1e6:.1f}",
                f"{median(row['seconds']):.2f}",
                f"{row['ratio']:.2f}",
                f"{row['ratio_least']:.2f}-{row['ratio_greatest']:.2f}",
                f"{row['memory_bytes'] / MEBIBYTE:,.0f}",
                f"{row['memory_ratio']:.2f}",
            ]
        )
    return markdown_table(lines, 1)


def main(argv: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", choices=MODELS, default=DEFAULT, metavar="MODEL", help=", ".join(MODELS)
    )
    parser.add_argument("--size", type=size, default=(800, 1280), help="height and width, multiples of 32")
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--calls", type=positive, default=2, help="timed passes of a round")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/benchmark"), help="by default %(default)s")
    arguments = parser.parse_args(argv)
    names = list(dict.fromkeys([*map(peer_of, arguments.models), *arguments.models]))
    measured = run_rounds(names, arguments.rounds, *arguments.size, arguments.threads, arguments.calls)
    rows, machine = rows_of(measured), describe_machine(torch.device("cpu")) | {"threads": arguments.threads}
    height, width = arguments.size
    head = f"One picture of {height}x{width}; ratios are to torchvision's of the kind."
    text = f"{head}\n\n{table(rows)}\n{machine_text(machine)}"
    print(text)
    save(arguments.output_dir, "detection", text, {"machine": machine, "size": arguments.size, "rows": rows})
    print(f"{arguments.output_dir}: detection.md, detection.json")


if __name__ == "__main__":
    main()
