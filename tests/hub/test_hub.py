# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Folders for the Hub load with and without the package, and their cards say what was measured."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
import yaml
from packaging.version import Version
from PIL import ExifTags, Image, ImageOps
from transformers import AutoBackbone, AutoConfig, AutoImageProcessor, ViTImageProcessor

from elsewhere import without
from families import FAMILIES, GPVIT, HRVIT
from hf_gpvit import GPViTConfig, GPViTForImageClassification, HRViTConfig, HRViTForSemanticSegmentation
from hf_gpvit.data import image_processor_for, read_rgb
from hf_gpvit.hub import model_card, save_for_hub


ROOT = Path(__file__).parents[2]

# How each of `Family.models` is loaded; the last class is its own.
LOADED_BY = {
    "model": ["AutoModel"],
    "backbone": ["AutoBackbone"],
    "classifier": ["AutoModel", "AutoModelForImageClassification"],
    "segformer": ["AutoModelForSemanticSegmentation"],
    "upernet": ["AutoModelForSemanticSegmentation"],
}
MODEL_CODE = {
    "compat.py",
    "configuration_base.py",
    "decode_head.py",
    "fusing.py",
    "inputs.py",
    "layers.py",
    "modeling_base.py",
    "shortcuts.py",
}
LABELS = {0: "cat", 1: "dog", 2: "sparrow", 3: "oak", 4: "sky"}

# AutoImageProcessor of transformers 5.17 needs torchvision for all of its classes.
MISSING = ["hf_gpvit", "torchvision"] if Version(transformers.__version__) >= Version("5.18") else ["hf_gpvit"]

# Loads all folders as somebody with transformers alone does, and saves and loads each again.
LOAD_ELSEWHERE = (
    without(*MISSING)
    + """
import importlib.util
import json
import re
from pathlib import Path
for module in sys.argv[3:]:
    assert importlib.util.find_spec(module) is None

import huggingface_hub
import torch
import transformers

huggingface_hub.HfApi.repo_exists = lambda *args, **kwargs: True  # AutoBackbone loads from the Hub only
root = Path(sys.argv[1])
pixel_values = torch.load(root / "pixel_values.pt")
loaded = {}
for folder, names in json.loads(sys.argv[2]).items():
    result = loaded[folder] = {}
    config = transformers.AutoConfig.from_pretrained(root / folder, trust_remote_code=True)
    result["classes"] = [type(config).__name__]
    for name in names:
        auto_class = getattr(transformers, name)
        model = auto_class.from_pretrained(root / folder, trust_remote_code=True)
        result["classes"].append(type(model).__name__)
        with torch.no_grad():
            result[name] = model(pixel_values)[0]
    model.save_pretrained(root / folder / "again")
    again = auto_class.from_pretrained(root / folder / "again", trust_remote_code=True)
    result["state_dict"] = again.state_dict()
    namespace = {}
    card = (root / folder / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"```python\\n(.*?)```", card, flags=re.DOTALL):
        exec(block.replace("you/", ""), namespace)  # instead of the name on the Hub, a folder of the working directory
    processor = namespace["image_processor"]
    result["processor"] = type(processor).__name__
    result["card"] = [
        namespace[name] for name in ("label", "class_ids", "feature_maps", "vector") if name in namespace
    ]
torch.save(loaded, root / "loaded.pt")
"""
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one for each model of both families, named family-kind."""
    root = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    for family in FAMILIES:
        for kind, model in zip(LOADED_BY, family.models(id2label=LABELS), strict=True):
            save_for_hub(model, root / f"{family.name}-{kind}", model_name=f"you/{family.name}-{kind}")
    return root


@pytest.fixture(scope="module")
def elsewhere(saved):
    """What a process without hf_gpvit, and without torchvision where transformers allows it, finds in each folder."""
    torch.save(torch.randn(1, 3, 37, 50), saved / "pixel_values.pt")
    Image.new("RGB", (90, 70), "tan").save(saved / "photo.jpg")
    names = {f"{family.name}-{kind}": names for family in FAMILIES for kind, names in LOADED_BY.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_MODULES_CACHE", str(saved / "modules"))
        subprocess.run(
            [sys.executable, "-c", LOAD_ELSEWHERE, saved, json.dumps(names), *MISSING], check=True, cwd=saved
        )
    return torch.load(saved / "loaded.pt")


def load(folder, name):
    """By an Auto class, with the package."""
    if name == "AutoBackbone":
        return AutoBackbone.from_config(AutoConfig.from_pretrained(folder)).from_pretrained(folder)
    return getattr(transformers, name).from_pretrained(folder)


@pytest.mark.parametrize("kind", LOADED_BY)
def test_loads_without_package(family, kind, saved, elsewhere):
    folder, result = saved / f"{family.name}-{kind}", elsewhere[f"{family.name}-{kind}"]
    pixel_values = torch.load(saved / "pixel_values.pt")
    classes = [family.config_class.__name__]
    for name in LOADED_BY[kind]:
        model = load(folder, name)
        with torch.no_grad():
            torch.testing.assert_close(result[name], model(pixel_values)[0], check_device=False, rtol=1e-5, atol=1e-6)
        classes.append(type(model).__name__)
    assert result["classes"] == classes
    expected = model.state_dict()
    assert result["state_dict"].keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in result["state_dict"].items())


@pytest.mark.parametrize("kind", LOADED_BY)
def test_card_runs_without_package(family, kind, elsewhere):
    result = elsewhere[f"{family.name}-{kind}"]
    processor = "Segformer" if kind in ("segformer", "upernet") else "ViT"
    assert result["processor"].startswith(f"{processor}ImageProcessor")
    (output,) = result["card"]
    if kind == "classifier":
        assert output in LABELS.values()
    elif kind == "backbone":
        assert len(output) == 4
    elif kind == "model":
        assert output.ndim == 2
    else:
        assert output.shape == (70, 90)
        assert output.max() < len(LABELS)


@pytest.mark.parametrize("kind", LOADED_BY)
def test_files(family, kind, saved, elsewhere):
    files = {path.name for path in (saved / f"{family.name}-{kind}").iterdir()} - {"again"}
    code = MODEL_CODE | {f"configuration_{family.name}.py", f"modeling_{family.name}.py"}
    assert files == code | {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}


@pytest.mark.parametrize("kind", LOADED_BY)
def test_second_round_trip_changes_nothing(family, kind, saved, tmp_path):
    folder = saved / f"{family.name}-{kind}"
    save_for_hub(load(folder, LOADED_BY[kind][-1]), tmp_path / "again", model_name=f"you/{folder.name}")
    for file in ("model.safetensors", "config.json", "preprocessor_config.json", "README.md"):
        assert (tmp_path / "again" / file).read_bytes() == (folder / file).read_bytes(), file


def test_config_has_labels_and_all_auto_classes(family, saved):
    config = json.loads((saved / f"{family.name}-classifier/config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {str(index): label for index, label in LABELS.items()}
    assert config["auto_map"] == {
        "AutoConfig": f"configuration_{family.name}.{family.config_class.__name__}",
        "AutoModel": f"modeling_{family.name}.{family.model_class.__name__}",
        "AutoBackbone": f"modeling_{family.name}.{family.backbone_class.__name__}",
        "AutoModelForImageClassification": f"modeling_{family.name}.{family.classifier_class.__name__}",
        "AutoModelForSemanticSegmentation": f"modeling_{family.name}.{family.segmentor_class.__name__}",
    }


def test_model_stays_as_it_is(tmp_path):
    model = GPVIT.classifier_class(GPVIT.config()).train()
    model.gpvit.eval()  # frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    save_for_hub(model, tmp_path / "model")
    assert not hasattr(model.config, "auto_map")
    assert model.training
    assert not model.gpvit.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_large_weights_are_sharded(family, tmp_path):
    model = family.classifier_class(family.config()).eval()
    folder = save_for_hub(model, tmp_path / "model", max_shard_size="100KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert not (folder / "model.safetensors").exists()
    loaded = load(folder, "AutoModelForImageClassification").state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


def test_older_model_is_kept(tmp_path):
    for size in (24, 36):
        folder = save_for_hub(GPVIT.model_class(GPVIT.config(hidden_size=size)), tmp_path / "model")
    sizes = [load(path, "AutoModel").config.hidden_size for path in (folder, tmp_path / "model-1")]
    assert sizes == [36, 24]


def test_a_folder_of_something_else_is_refused(tmp_path):
    """As is one with a note beside a model; unless that may move aside."""
    model = GPVIT.classifier_class(GPVIT.config())
    for name in ("notes.txt", "README.md"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("mine")
        with pytest.raises(FileExistsError, match=f"is there already, and holds {name}"):
            save_for_hub(model, tmp_path / name)
    save_for_hub(model, tmp_path / "model")
    (tmp_path / "model/notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds notes\.txt"):
        save_for_hub(model, tmp_path / "model")
    save_for_hub(model, tmp_path / "model", overwrite=True)
    assert (tmp_path / "model-1/notes.txt").read_text() == "mine"
    assert not (tmp_path / "model/notes.txt").exists()


def test_own_image_processor_is_saved(tmp_path):
    processor = ViTImageProcessor(size={"height": 24, "width": 48})
    folder = save_for_hub(GPVIT.classifier_class(GPVIT.config()), tmp_path / "model", processor)
    assert AutoImageProcessor.from_pretrained(folder).size == {"height": 24, "width": 48}
    assert "one image of 24x48 pixels" in (folder / "README.md").read_text(encoding="utf-8")


# ---- what is known of a model's training


def test_run_goes_into_folder_and_card(tmp_path):
    recipe, metrics = tmp_path / "best/recipe.yaml", tmp_path / "best/metrics.json"
    recipe.parent.mkdir()
    recipe.write_text("model: gpvit-nano\n")
    metrics.write_text('{"step": 30, "mean_iou": 0.4321, "overall_accuracy": null, "iou/cat": null}')
    model = GPVIT.segmentor_class(GPVIT.config())
    folder = save_for_hub(model, tmp_path / "model", metrics=metrics, recipe=recipe, dataset="you/pets")

    assert (folder / "recipe.yaml").read_text() == "model: gpvit-nano\n"
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(metrics.read_text())
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| Mean IoU | 43.21 % |" in card
    assert "Accuracy of the pixels" not in card
    assert "[recipe.yaml](recipe.yaml)" in card
    assert metadata(card)["datasets"] == ["you/pets"]
    assert metadata(card)["metrics"] == ["mean_iou"]
    (entry,) = metadata(card)["model-index"]
    assert entry["name"] == "model"
    (result,) = entry["results"]
    assert result["dataset"] == {"name": "you/pets", "type": "you/pets"}
    assert result["metrics"] == [{"type": "mean_iou", "value": 0.4321, "name": "Mean IoU"}]


def test_card_says_what_the_figures_are_of(tmp_path):
    """Whatever else is given."""
    origin = {"dataset": "you/test-pets", "split": "validation[:500]", "base_model": "you/gpvit-l1"}
    model = GPVIT.classifier_class(GPVIT.config())
    folder = save_for_hub(model, tmp_path / "model", metrics={"accuracy": 0.5} | origin, dataset="you/pets")
    assert json.loads((folder / "metrics.json").read_text()) == {"accuracy": 0.5} | origin
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "Measured on you/test-pets (validation[:500]);" in card
    assert "Dataset: you/pets." in card
    assert "Fine-tuned from [you/gpvit-l1](" in card
    data = metadata(card)
    assert (data["datasets"], data["base_model"]) == (["you/pets"], "you/gpvit-l1")
    result = data["model-index"][0]["results"][0]
    assert result["dataset"] == {"name": "you/test-pets", "type": "you/test-pets", "split": "validation[:500]"}


@pytest.mark.parametrize(
    "path",
    ["/home/you/photos", "~/photos", "./photos", "../photos", "a/b/photos", r"C:\a\photos", "C:/photos", "photos/"],
)
def test_paths_of_datasets_stay_here(path):
    """Neither the card's text nor its metadata has more than the last part, given or measured on."""
    model = GPVIT.classifier_class(GPVIT.config())
    for arguments in (
        {"metrics": {"accuracy": 0.5}, "dataset": path},
        {"metrics": {"accuracy": 0.5, "dataset": path}},
    ):
        card = str(model_card(model, model_name="m", **arguments))
        assert path not in card
        assert "Measured on photos;" in card
        assert "datasets" not in metadata(card)


@pytest.mark.parametrize("metrics", [None, {"accuracy": None, "top5_accuracy": float("nan")}])
def test_nothing_known_nothing_said(family, metrics):
    card = str(model_card(family.classifier_class(family.config()), model_name="m", metrics=metrics, dataset="pets"))
    assert "## Results" not in card
    assert not {"model-index", "metrics", "datasets"} & metadata(card).keys()
    assert "recipe.yaml" not in card
    assert "Dataset: pets." in card


def test_card_without_data_has_no_section_for_it(family):
    assert "## Data" not in str(model_card(family.model_class(family.config()), model_name="m"))


TASKS = {
    "model": "image-feature-extraction",
    "backbone": "image-feature-extraction",
    "classifier": "image-classification",
    "segformer": "image-segmentation",
    "upernet": "image-segmentation",
}


@pytest.mark.parametrize("kind", LOADED_BY)
def test_card(family, kind, saved):
    card = (saved / f"{family.name}-{kind}/README.md").read_text(encoding="utf-8")
    data = metadata(card)
    assert (data["license"], data["library_name"]) == ("apache-2.0", "transformers")
    assert data["pipeline_tag"] == TASKS[kind]
    assert family.name in data["tags"]
    assert f"# {family.name}-{kind}\n" in card
    titles = re.findall(r"^## (.*)", card, flags=re.MULTILINE)
    assert titles == ["Use", "Limits", "Cost", "Licence", "Citation"]
    assert card.count("@inproceedings") == 1
    assert "\n\n\n" not in card
    assert ("UPerNet" in card, "SegFormer" in card) == (kind == "upernet", kind == "segformer")
    assert ("non-commercial" in card) == (family is HRVIT)


ROWS, COLUMNS = np.mgrid[0:12, 0:20]
RGB = Image.fromarray(np.stack([12 * COLUMNS, 20 * ROWS, 100 + COLUMNS], axis=-1).astype(np.uint8))
GREY = RGB.convert("L")
DEEP = np.asarray(GREY).astype(np.uint16) * 257 + COLUMNS.astype(np.uint16)
TURNED = Image.Exif()
TURNED[ExifTags.Base.Orientation] = 6
PICTURES = {
    "rgb.png": (RGB, {}),
    "16-bit.png": (Image.fromarray(DEEP), {}),
    "16-bit.tif": (Image.fromarray(DEEP), {}),
    "16-bit-turned.png": (Image.fromarray(DEEP), {"exif": TURNED}),
    "16-bit.pgm": (Image.fromarray(DEEP.astype(np.int32)), {}),
    "turned.jpg": (RGB, {"exif": TURNED}),
    "cmyk.jpg": (RGB.convert("CMYK"), {}),
    "1-bit.png": (GREY.convert("1"), {}),
    "grey.jpg": (GREY, {}),
    "grey and alpha.png": (RGB.convert("LA"), {}),
    "alpha.png": (RGB.convert("RGBA"), {}),
    "palette.gif": (RGB.quantize(16), {}),
    "one transparent.png": (RGB.quantize(16), {"transparency": 3}),
    "palette with alpha.png": (RGB.quantize(16), {"transparency": bytes(range(0, 160, 10))}),
    "colour transparent.png": (RGB, {"transparency": (0, 0, 100)}),
    "pages.tif": (RGB, {"save_all": True, "append_images": [ImageOps.invert(RGB)]}),
}
REFUSED = {
    "floats.tif": Image.fromarray(np.asarray(GREY).astype(np.float32) / 255),
    "32-bit.tif": Image.fromarray(np.asarray(GREY).astype(np.int32) * 1000),
    "negative.tif": Image.fromarray(np.asarray(GREY).astype(np.int32) - 100),
    "program.eps": RGB,
}


def reading(card):
    """The lines of a card that read a picture, each time that they are there."""
    found = re.findall(r"^def read_rgb\(.*?\n(?=\S|\n)", card, flags=re.DOTALL | re.MULTILINE)
    namespace = {"np": np, "Image": Image, "ImageOps": ImageOps}
    for code in found:
        exec(code, namespace)
        yield namespace["read_rgb"]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")
@pytest.mark.parametrize("kind", ["model", "backbone", "classifier", "segmentor"])
def test_card_reads_pictures_as_the_package_does(kind, tmp_path):
    """Without the package, which those who load a model may not have."""
    card = str(model_card(getattr(GPVIT, f"{kind}_class")(GPVIT.config()), model_name="m", onnx=True))
    assert "Image.open(" not in "\n".join(line for line in card.splitlines() if "formats=" not in line)
    functions = list(reading(card))
    assert len(functions) == 2  # of the model and of its ONNX file
    for name, (picture, options) in PICTURES.items():
        picture.copy().save(tmp_path / name, **options)
        expected = read_rgb(tmp_path / name)
        for function in functions:
            found = function(tmp_path / name)
            assert (found.mode, found.tobytes()) == ("RGB", expected.tobytes()), name
    for name, picture in REFUSED.items():
        picture.copy().save(tmp_path / name)
        for function in (read_rgb, *functions):
            with pytest.raises((ValueError, OSError)):
                function(tmp_path / name)


def test_licence_of_weights():
    card = str(model_card(HRVIT.model_class(HRVIT.config()), model_name="m", license="cc-by-4.0"))
    assert metadata(card)["license"] == "cc-by-4.0"
    assert "code is under the Apache License 2.0, the weights under cc-by-4.0." in card


def test_cost_is_that_of_the_readme():
    model = GPViTForImageClassification(GPViTConfig.from_preset("gpvit-nano", num_labels=1000))
    card = str(model_card(model, image_processor_for(model, image_size=224), model_name="m"))
    assert "| 585,128 | 0.47 GMAC |" in card
    model = HRViTForSemanticSegmentation(HRViTConfig.from_preset("hrvit-nano", num_labels=150))
    assert f"| {model.num_parameters():,} | 1.30 GMAC |" in str(model_card(model, model_name="m"))


def test_memory_is_that_of_the_precision():
    model = GPVIT.classifier_class(GPVIT.config())
    columns = "| weights and activations at their peak, in {} |"
    assert columns.format("float32") in str(model_card(model, model_name="m"))
    assert columns.format("bfloat16") in str(model_card(model.to(torch.bfloat16), model_name="m"))


def metadata(card):
    return yaml.safe_load(card.split("---\n")[1])


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"metrics": {"accuracy": 0.5}}, ValueError, "dataset"),
        ({"metrics": {"mean_iou": 0.5}, "dataset": "pets"}, ValueError, "accuracy, top5_accuracy.*mean_iou"),
        ({"metrics": {"accuracy": "high"}, "dataset": "pets"}, ValueError, "accuracy is 'high'"),
        ({"metrics": {"accuracy": 0.5, "dataset": 3}}, ValueError, "dataset, but it is 3"),
        ({"metrics": {"accuracy": 79.4}, "dataset": "pets"}, ValueError, "accuracy is 79.4"),
        ({"metrics": "none.json", "dataset": "pets"}, FileNotFoundError, "none.json"),
        ({"metrics": __file__, "dataset": "pets"}, ValueError, "JSON"),
        ({"recipe": "none.yaml"}, FileNotFoundError, "none.yaml"),
        ({"image_processor": ViTImageProcessor(image_std=[1e-38] * 3)}, ValueError, "image_std must have numbers"),
    ],
)
def test_bad_arguments(arguments, error, message, tmp_path):
    with pytest.raises(error, match=message):
        save_for_hub(GPVIT.classifier_class(GPVIT.config()), tmp_path / "model", **arguments)
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_finite(tmp_path):
    model = HRVIT.classifier_class(HRVIT.config())
    model.hrvit.embeddings.stem[0].batch_norm.running_var.fill_(torch.nan)
    with pytest.raises(ValueError, match="HRViTForImageClassification are broken: .*running_var has numbers"):
        save_for_hub(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_metrics_of_model_without_head():
    with pytest.raises(ValueError, match="without a head"):
        model_card(GPVIT.model_class(GPVIT.config()), model_name="m", metrics={"accuracy": 1.0}, dataset="pets")


def test_other_models_are_refused(tmp_path):
    class Own(GPVIT.model_class):
        pass

    for model in (Own(GPVIT.config()), torch.compile(GPVIT.model_class(GPVIT.config()))):
        with pytest.raises(ValueError, match=f"GPViTModel.*got {type(model).__name__}"):
            save_for_hub(model, tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_missing_jinja_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ImportError, match=re.escape('pip install "hf-gpvit[hub]"')):
        model_card(GPVIT.model_class(GPVIT.config()), model_name="m")
