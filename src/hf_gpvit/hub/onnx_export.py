# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Models as ONNX files, for onnxruntime and what is built on it: Optimum, Transformers.js."""

import copy
import os
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from ..extras import import_extra
from .cards import checked_model


# The largest difference that a file may have from PyTorch: absolute, and as a part of the largest value.
_TOLERANCES = (1e-6, 1e-4)
# Traced with one size and checked with others, (B, H, W), of sides that no window and no stride divides. What is
# traced has several windows in the coarsest map of HRViT too: a count of 1 would be fixed in the file.
_TRACED_SIZE = (2, 520, 744)
_CHECKED_SIZES = [(1, 101, 85), (3, 330, 199)]
# Which of two detections comes first, or is left out beside the other, rounding decides where they score alike.
_DETECTION_TOLERANCE, _SAME_DETECTIONS = 1e-3, 0.9


def export_onnx(model: PreTrainedModel, path: str | os.PathLike) -> Path:
    """Writes `model` as an ONNX file that takes batches and images of any size, as the model itself does.

    The input is `pixel_values`, float32 (batch_size, num_channels, height, width). The outputs have the names of the
    model's: `logits` where it has a head, `last_hidden_state` and `pooler_output` of a trunk, `feature_maps.0`,
    `feature_maps.1`, ... of a backbone, and `logits`, `pred_boxes`, `pred_masks` and `pixel_sizes` of a detector. The
    non-maximum suppression of a detector is in the file, which takes no `pixel_mask`: its images have no padding. The
    file computes in float32 whatever the precision of `model`, in eval mode. It is checked before it takes the place
    of an older one: by `onnx.checker`, and, where onnxruntime is installed, by running it on images of sizes that it
    was not traced with.

    `model` stays as it is: a copy on the CPU is exported. Its attention is the eager one, which makes a smaller file
    than SDPA does; what it computes is the same.

    Args:
        model: One of the package's models, neither compiled nor with adapters.
        path: The file, such as "onnx/model.onnx". Its folder is made where there is none.

    Returns:
        The file.

    Raises:
        ImportError: onnx or onnxscript is missing; the message says how to install it.
        RuntimeError: onnxruntime computes something else with the file than PyTorch with `model`.
        ValueError: `model` is none of the package's.
    """
    onnx = import_extra("onnx", "onnx")
    passes = import_extra("onnx_ir.passes.common", "onnx")
    import_extra("onnxscript", "onnx")
    path = Path(path).absolute()
    exported = _ExportedModel(checked_model(model))
    program = torch.onnx.export(
        exported,
        (exported.sample(*_TRACED_SIZE),),
        input_names=["pixel_values"],
        output_names=exported.output_names,
        dynamic_shapes=({0: "batch_size", 2: "height", 3: "width"},),
        custom_translation_table=_translations() if "pred_boxes" in exported.output_names else None,
        dynamo=True,
        verbose=False,
    )
    # stack traces, with the paths of this machine
    passes.ClearMetadataAndDocStringPass()(program.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}-new")
    try:
        program.save(new, external_data=False)
        onnx.checker.check_model(new, full_check=True)
        if find_spec("onnxruntime"):
            _check_outputs(exported, new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return path


class _ExportedModel(nn.Module):
    """A copy of a model that can be exported, with tensors for outputs."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        model = copy.deepcopy(model).to("cpu", torch.float32).requires_grad_(False)
        model.set_attn_implementation("eager")
        for module in model.modules():
            if isinstance(module, nn.AdaptiveAvgPool2d):
                # in place, because UPerNet's pooling blocks call what stands in a list of their own
                module.__class__ = _AveragePool
        self.model = model
        self.eval()
        self.output_names = list(self._named_outputs(self.sample(*_CHECKED_SIZES[0])))

    def sample(self, batch: int, height: int, width: int) -> torch.Tensor:
        """Noise of that size, the same every time."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(batch, self.model.config.num_channels, height, width, generator=generator)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._named_outputs(pixel_values).values())

    def _named_outputs(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        named = {}
        for name, value in self.model(pixel_values, return_dict=True).items():
            is_tensor = isinstance(value, torch.Tensor)
            named |= {name: value} if is_tensor else {f"{name}.{index}": part for index, part in enumerate(value)}
        return named


class _AveragePool(nn.AdaptiveAvgPool2d):
    """The same to `output_size` x `output_size`, as two products with matrices of means.

    PyTorch's own is exported with the indices of the traced size, so that the file would be wrong at any other.
    """

    def forward(self, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, output_size, output_size)."""
        rows, columns = (self._means(side) for side in feature_map.shape[-2:])
        return rows @ feature_map @ columns.T

    def _means(self, side: int) -> torch.Tensor:
        """(output_size, side): each row averages one of the (overlapping) ranges into which the side is cut."""
        index, position = torch.arange(self.output_size)[:, None], torch.arange(side)
        start, end = index * side // self.output_size, ((index + 1) * side - 1) // self.output_size + 1
        is_inside = (position >= start) & (position < end)
        return is_inside.float() / (end - start)


def _check_outputs(exported: _ExportedModel, path: Path) -> None:
    onnxruntime = import_extra("onnxruntime", "onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in _CHECKED_SIZES:
        pixel_values = exported.sample(*size)
        outputs = session.run(exported.output_names, {"pixel_values": pixel_values.numpy()})
        outputs = dict(zip(exported.output_names, map(torch.from_numpy, outputs), strict=True))
        expected = dict(zip(exported.output_names, exported(pixel_values), strict=True))
        if "pred_boxes" in expected:
            _check_detections(outputs, expected)
            continue
        for name, output in outputs.items():
            _check_output(name, output, expected[name])


def _check_detections(outputs: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    found, wanted = _detections(outputs), _detections(expected)
    for some, others in ((found, wanted), (wanted, found)):
        distances = torch.cdist(some, others, p=torch.inf)
        same = (distances < _DETECTION_TOLERANCE).any(dim=1).sum().item()
        if not same >= _SAME_DETECTIONS * len(some):
            raise RuntimeError(
                f"The ONNX file gives {len(found)} detections, PyTorch {len(wanted)}, of which {same} are the same."
            )


def _detections(outputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """One row for each: image, class, score, box, and the probabilities of its mask."""
    scores, classes = outputs["logits"].sigmoid().max(dim=-1)
    images = torch.arange(len(scores))[:, None].expand_as(scores)
    rows = [torch.stack([images, classes, scores], dim=-1), outputs["pred_boxes"]]
    if "pred_masks" in outputs:
        rows.append(outputs["pred_masks"].sigmoid().flatten(2))
    return torch.cat(rows, dim=-1)[scores > 0]


def _check_output(name: str, output: torch.Tensor, expected: torch.Tensor) -> None:
    if output.shape != expected.shape:
        raise RuntimeError(
            f"The ONNX file gives {name} of shape {tuple(output.shape)}, PyTorch {tuple(expected.shape)}."
        )
    difference = (output - expected).abs().max().item()
    absolute, relative = _TOLERANCES
    if not difference <= absolute + relative * expected.abs().max().item():
        raise RuntimeError(f"The ONNX file's {name} differ from PyTorch's by up to {difference:.2g}.")


def _translations() -> dict:
    """What becomes of the package's own operators."""
    op = import_extra("onnxscript", "onnx").opset18

    def keep_apart(boxes, scores, groups, exists, threshold: float):
        nothing, lowest = (
            op.Constant(value_float=-torch.inf),
            op.Constant(value_floats=[torch.finfo(torch.float32).min]),
        )
        zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
        every_group = op.Range(zero, op.Add(op.ReduceMax(groups, keepdims=0), one), one)
        is_of_group = op.Equal(op.Unsqueeze(groups, [1]), op.Unsqueeze(every_group, [0, 2]))
        is_there = op.And(is_of_group, op.Unsqueeze(exists, [1]))
        scores_by_group = op.Where(is_there, op.Unsqueeze(scores, [1]), nothing)
        most = op.Shape(scores, start=1, end=2)
        kept = op.NonMaxSuppression(boxes, scores_by_group, most, op.Constant(value_floats=[threshold]), lowest)
        places = op.Gather(kept, [0, 2], axis=1)  # image and box, without the group
        marks = op.Expand(one, op.Shape(kept, start=0, end=1))
        return op.Greater(op.ScatterND(op.Expand(zero, op.Shape(exists)), places, marks), zero)

    return {torch.ops.hf_gpvit.keep_apart.default: keep_apart}
