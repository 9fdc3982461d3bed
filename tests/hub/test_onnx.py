# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0

import copy
import re
import sys

import huggingface_hub
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from families import GPVIT, HRVIT, awake
from hf_gpvit import (
    GPViTConfig,
    GPViTDetectionImageProcessor,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    HRViTConfig,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
)
from hf_gpvit.hub import export_onnx, model_card, onnx_export, save_for_hub
from small_detectors import ALL_KINDS, assert_alike, small_model
from small_detectors import SHALLOW as SHALLOW_DETECTOR


onnx = pytest.importorskip("onnx")
onnx_ir = pytest.importorskip("onnx_ir")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# (B, H, W): smaller and larger than what is traced, sides that no stride and no window divides, a single pixel.
SIZES = [(2, 72, 104), (1, 72, 104), (3, 40, 40), (1, 37, 50), (4, 33, 200), (1, 1, 1)]
# Exporting takes seconds that grow with depth.
SHALLOW = {
    "gpvit": {
        "num_hidden_layers": 2,
        "group_layer_indices": [1],
        "num_group_tokens": [6],
    },
    "hrvit": HRVIT.shallow,
}


def small(family, kind, **overrides):
    if kind == "classifier":
        return awake(family.classifier_class(family.config(**overrides)))
    return awake(family.segmentor_class(family.config(decode_head_type=kind, **overrides)))


def run(path, pixel_values):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = session.run(None, {"pixel_values": pixel_values.numpy()})
    return {output.name: torch.from_numpy(value) for output, value in zip(session.get_outputs(), outputs, strict=True)}


@torch.no_grad()
def assert_same(model, path, sizes):
    for batch, height, width in sizes:
        pixel_values = torch.randn(batch, 3, height, width)
        torch.testing.assert_close(
            run(path, pixel_values)["logits"], model(pixel_values).logits, rtol=1e-4, atol=1e-5, check_stride=False
        )


@pytest.mark.parametrize(
    ("family", "kind"),
    [(GPVIT, "upernet"), pytest.param(HRVIT, "segformer", marks=pytest.mark.slow)],
    ids=["gpvit", "hrvit"],
)
def test_any_size(family, kind, tmp_path):
    model = small(family, kind, **SHALLOW[family.name])
    assert_same(model, export_onnx(model, tmp_path / "model.onnx"), SIZES)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A classifier in train mode and bfloat16, with SDPA, as it was; the same after; its folder."""
    torch.manual_seed(0)
    model = small(GPVIT, "classifier", **SHALLOW["gpvit"]).to(torch.bfloat16).train()
    model.set_attn_implementation("sdpa")
    model.gpvit.norm.eval()  # frozen
    before = copy.deepcopy(model)
    root = tmp_path_factory.mktemp("hub")
    return before, model, save_for_hub(model, root / "model", model_name="you/model", onnx=True)


def test_model_stays_as_it_is(published):
    before, model, _ = published
    assert model.config._attn_implementation == "sdpa"
    assert model.training
    assert not model.gpvit.norm.training
    assert all(parameter.requires_grad and parameter.dtype == torch.bfloat16 for parameter in model.parameters())
    expected = before.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_file_computes_in_float32_and_eval_mode(published):
    _, model, folder = published
    assert_same(copy.deepcopy(model).float().eval(), folder / "onnx/model.onnx", SIZES[:3])


def test_names_of_inputs_and_outputs(published):
    graph = onnx.load(published[2] / "onnx/model.onnx").graph
    shapes = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in [*graph.input, *graph.output]
    }
    assert shapes == {"pixel_values": ["batch_size", 3, "height", "width"], "logits": ["batch_size", 5]}


def test_file_tells_nothing_of_this_machine(published):
    content = (published[2] / "onnx/model.onnx").read_bytes()
    assert b"hf_gpvit" not in content
    assert b".py" not in content


def test_code_of_the_card(published, tmp_path, monkeypatch):
    _, model, folder = published
    namespace = run_code_of_card(folder, tmp_path, monkeypatch)
    with torch.no_grad():
        expected = copy.deepcopy(model).float().eval()(torch.from_numpy(namespace["pixel_values"])).logits
    torch.testing.assert_close(torch.from_numpy(namespace["outputs"]["logits"]), expected, rtol=1e-4, atol=1e-5)


def run_code_of_card(folder, tmp_path, monkeypatch):
    """What the names in the card's lines for the ONNX file stand for, after they ran on a picture of 70x90 pixels."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)).save("photo.jpg")
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repository, file: f"{repository}/{file}")
    card = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"## ONNX\n.*?```python\n(.*?)```", card, flags=re.DOTALL)
    namespace = {}
    exec(code.replace("you/model", folder.as_posix()), namespace)
    return namespace


def test_card_without_file_has_no_section_for_it(family):
    model = family.classifier_class(family.config())
    assert "onnx" not in str(model_card(model, model_name="m")).lower()
    assert "\n\n\n" not in str(model_card(model, model_name="m", onnx=True))


@pytest.mark.parametrize("output_size", [1, 2, 3, 6])
def test_pooling(output_size):
    pool = nn.AdaptiveAvgPool2d(output_size)
    for height, width in ((7, 13), (1, 5), (6, 12), (2, 3)):
        feature_map = torch.randn(2, 3, height, width)
        expected = pool(feature_map)
        torch.testing.assert_close(onnx_export._AveragePool(output_size)(feature_map), expected)


# ---- errors


def test_wrong_file_is_refused(published, tmp_path, monkeypatch):
    other = small(GPVIT, "classifier", **SHALLOW["gpvit"])
    program = torch.onnx.ONNXProgram(onnx_ir.load(published[2] / "onnx/model.onnx"), None)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: program)
    (tmp_path / "model.onnx").write_text("older")
    with pytest.raises(RuntimeError, match="logits differ"):
        export_onnx(other, tmp_path / "model.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_missing_package_names_the_extra(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'needs {package}, .*pip install "hf-gpvit\[onnx\]"'):
        save_for_hub(GPVIT.classifier_class(GPVIT.config()), tmp_path / "model", onnx=True)
    assert not list(tmp_path.iterdir())


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="GPViTModel.*got Linear"):
        export_onnx(nn.Linear(1, 1), tmp_path / "model.onnx")


# ---- the rest of the models


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "segformer", "upernet"])
def test_deep(family, kind, tmp_path):
    model = small(family, kind)
    assert_same(model, export_onnx(model, tmp_path / "model.onnx"), SIZES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "names"),
    [(0, ["last_hidden_state", "pooler_output"]), (1, [f"feature_maps.{index}" for index in range(4)])],
)
def test_without_head(family, index, names, tmp_path):
    model = family.models()[index]
    path = export_onnx(model, tmp_path / "model.onnx")
    pixel_values = torch.randn(3, 3, 50, 37)
    outputs = run(path, pixel_values)
    with torch.no_grad():
        expected = model(pixel_values)
    expected = expected.feature_maps if "feature_maps" in expected else expected.to_tuple()
    assert list(outputs) == names
    torch.testing.assert_close(tuple(outputs.values()), tuple(expected), rtol=1e-4, atol=1e-4, check_stride=False)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["classifier", "segformer", "upernet"])
@pytest.mark.parametrize(
    ("preset", "config_class", "classes"),
    [
        ("gpvit-nano", GPViTConfig, (GPViTForImageClassification, GPViTForSemanticSegmentation)),
        ("hrvit-nano", HRViTConfig, (HRViTForImageClassification, HRViTForSemanticSegmentation)),
    ],
)
def test_presets(preset, config_class, classes, kind, tmp_path):
    head = {} if kind == "classifier" else {"decode_head_type": kind}
    model = awake(classes[kind != "classifier"](config_class.from_preset(preset, num_labels=150, **head)))
    path = export_onnx(model, tmp_path / "model.onnx")
    assert_same(model, path, [(1, 224, 224), (2, 512, 512), (3, 200, 232)])


# ---- the adapter and detectors, of which exporting takes most of a minute


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The smallest Mask R-CNN and its file, in a folder for the Hub."""
    torch.manual_seed(0)
    model = small_model(
        "masks", num_hidden_layers=1, group_layer_indices=[], num_group_tokens=[], num_extra_extractors=0
    )
    processor = GPViTDetectionImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})
    folder = tmp_path_factory.mktemp("detector") / "model"
    return model, save_for_hub(model, folder, processor, model_name="you/model", onnx=True) / "onnx/model.onnx"


@torch.no_grad()
def assert_detects_alike(model, path, sizes):
    for size in sizes:
        pixel_values = torch.randn(size[0], 3, *size[1:])
        outputs, expected = run(path, pixel_values), model(pixel_values)
        assert all(value.shape == outputs[name].shape for name, value in expected.items() if name != "feature_maps")
        if "feature_maps" in expected:
            outputs = {"feature_maps": tuple(outputs.values())}
        assert_alike(outputs, expected)


@pytest.mark.slow
def test_detector_of_any_batch_and_size(detector):
    assert_detects_alike(
        *detector, [(2, 72, 104), (1, 72, 104), (3, 40, 40), (1, 37, 50), (4, 33, 200), (1, 200, 300)]
    )


@pytest.mark.slow
@torch.no_grad()
def test_detector_where_there_is_nothing_to_find(detector):
    outputs = run(detector[1], torch.zeros(2, 3, 1, 1))
    expected = detector[0](torch.zeros(2, 3, 1, 1))
    for name, value in expected.items():
        torch.testing.assert_close(outputs[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_code_of_the_card_of_a_detector(detector, tmp_path, monkeypatch):
    model, path = detector
    namespace = run_code_of_card(path.parents[1], tmp_path, monkeypatch)
    pixel_values = torch.from_numpy(namespace["pixel_values"])
    assert pixel_values.shape == (1, 3, 82, 64)
    processor = namespace["image_processor"]
    with torch.no_grad():
        [expected] = processor.post_process_object_detection(model(pixel_values), target_sizes=[(90, 70)])
    assert len(expected["scores"]) > 0
    for name, value in expected.items():
        torch.testing.assert_close(namespace["found"][name], value, rtol=1e-3, atol=1e-2)


@pytest.mark.slow
def test_names_of_outputs_of_a_detector(detector):
    graph = onnx.load(detector[1]).graph
    names = [output.name for output in graph.output]
    assert names == ["logits", "pred_boxes", "pred_masks", "pixel_sizes"]
    assert "NonMaxSuppression" in {node.op_type for node in graph.node}
    assert not {node.domain for node in graph.node} - {""}


@pytest.mark.slow
def test_wrong_file_of_a_detector_is_refused(detector, tmp_path, monkeypatch):
    other = copy.deepcopy(detector[0])
    with torch.no_grad():
        other.detector.box_head.deltas.bias.fill_(0.5)
    program = torch.onnx.ONNXProgram(onnx_ir.load(detector[1]), None)
    monkeypatch.setattr(torch.onnx, "export", lambda *args, **kwargs: program)
    with pytest.raises(RuntimeError, match=r"ONNX file gives \d+ detections, PyTorch \d+, of which \d+ are the same"):
        export_onnx(other, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALL_KINDS)
def test_deep_detectors(kind, tmp_path):
    model = small_model(kind)
    sizes = [(2, 72, 104), (3, 40, 40), (4, 33, 200), (1, 400, 300)]
    assert_detects_alike(model, export_onnx(model, tmp_path / "model.onnx"), sizes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["retinanet", "masks"])
def test_detectors_in_half_precision_are_exported_in_float32(kind, tmp_path):
    model = small_model(kind, **SHALLOW_DETECTOR).to(torch.bfloat16).train()
    path = export_onnx(model, tmp_path / "model.onnx")
    assert_detects_alike(copy.deepcopy(model).float().eval(), path, [(2, 72, 104)])
