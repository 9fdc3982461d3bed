# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What other packages don't promise to keep: all of it is known, and published models load without any of it."""

import ast
import importlib.util
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.autograd import forward_ad
from transformers.utils import output_capturing

from families import FAMILIES, awake
from hf_gpvit.hub import save_for_hub
from hf_gpvit.models import compat
from model_outputs import assert_same


SOURCE = Path(compat.__file__).parents[1]
PACKAGES = ("PIL", "accelerate", "datasets", "evaluate", "huggingface_hub", "safetensors", "torch", "torchvision")
# What the documentation of transformers, or each of its own models, has besides the names of the package itself.
PUBLIC_MODULES = {
    f"transformers.{name}"
    for name in (
        "activations",
        "backbone_utils",
        "image_processing_backends",
        "image_processing_utils",
        "image_transforms",
        "image_utils",
        "initialization",
        "modeling_layers",
        "modeling_outputs",
        "processing_utils",
        "utils",
        "utils.auto_docstring",
        "utils.logging",
    )
}
INTERNAL_MODULES = ("torch.fx.experimental", "datasets.utils.file_utils")

# Each is tested without, below.
WITH_FALLBACK = {
    "torch._C._are_functorch_transforms_active",
    "torch.fx.experimental.symbolic_shapes.statically_known_true",
    "transformers.backbone_utils.filter_output_hidden_states",
    "transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS",
    "transformers.models.upernet.modeling_upernet.UperNetConvModule",
    "transformers.models.upernet.modeling_upernet.UperNetFCNHead",
    "transformers.models.upernet.modeling_upernet.UperNetHead",
    "transformers.utils.generic.maybe_autocast",
    "transformers.utils.output_capturing.OutputRecorder",
    "transformers.utils.output_capturing._CAN_RECORD_REGISTRY",
    "transformers.utils.output_capturing.capture_outputs",
    "transformers.utils.output_capturing.install_all_output_capturing_hooks",
}
KNOWN = {
    "models/compat.py": WITH_FALLBACK
    | {
        "_attn_implementation",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_current_level",
        "_forward_hooks",
        "_forward_pre_hooks",
        "_output_capturing_hooks_installed",
    },
    "models/configuration_base.py": {"_attn_implementation"},
    # not in published repositories
    "costs.py": {
        "_cdata",
        "_scaled_dot_product_flash_attention_for_cpu",
        "torch.utils._python_dispatch.TorchDispatchMode",
        "torch.utils._pytree.tree_leaves",
    },
    "data/pictures.py": {"datasets.utils.file_utils"},
    "hub/cards.py": {"_hf_peft_config_loaded"},
    "registration.py": {"transformers.models.auto.modeling_auto"},
    "training/evaluation.py": {"_orig_mod"},
    "training/schedule.py": {"_last_lr"},
}


def is_private(module, name=""):
    if find_module(f"{module}.{name}"):
        module, name = f"{module}.{name}", ""
    package = module.partition(".")[0]
    if package == "transformers":
        return module != "transformers" and module not in PUBLIC_MODULES
    parts = [*module.split("."), name]
    return package in PACKAGES and (module.startswith(INTERNAL_MODULES) or any(map(is_underscored, parts)))


def find_module(path):
    """Whether a name of a package is a module of its own."""
    try:
        return importlib.util.find_spec(path) is not None
    except (ImportError, ValueError):
        return False


def is_underscored(name):
    return name.startswith("_") and name[1:2].isalpha() and name.isidentifier()


def class_attributes(tree):
    """Names that classes give values to, which subclasses in other files may build on."""
    for node in ast.walk(tree):
        for statement in node.body if isinstance(node, ast.ClassDef) else ():
            targets = getattr(statement, "targets", [getattr(statement, "target", None)])
            yield from (target.id for target in targets if isinstance(target, ast.Name))


def private_names(tree):
    """Private names of others: imported, as attributes of what isn't `self` or `cls`, or in quotation marks."""
    constants = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    own = {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    own |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_of_self(node)}
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names if is_private(node.module, alias.name))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("private", "import_extra"):
            parts = [constants.get(getattr(part, "id", None)) or getattr(part, "value", "") for part in node.args[:2]]
            module, name = parts if node.func.id == "private" else (parts[0], "")
            imported.add(name)
            if node.func.id == "private" or is_private(module, name):
                yield f"{module}.{name}".removesuffix(".")
        elif isinstance(node, ast.Attribute) and not is_of_self(node) and is_underscored(node.attr):
            yield from {node.attr} - own
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and is_underscored(node.value):
            yield from {node.value} - own - imported


def is_of_self(node):
    of = node.value.func if isinstance(node.value, ast.Call) else node.value
    return getattr(of, "id", None) in ("self", "cls", "super", "type")


def test_private_names_are_known():
    """A new one goes to models/compat.py, with what stands in for it; only what isn't published may do without."""
    found, trees = {}, {file: ast.parse(file.read_text(encoding="utf-8")) for file in SOURCE.rglob("*.py")}
    own = {name for tree in trees.values() for name in class_attributes(tree)}
    for file, tree in trees.items():
        names = set(private_names(tree)) - own
        if names:
            found[file.relative_to(SOURCE).as_posix()] = names
    assert found == KNOWN


class Without(ModuleType):
    """A module as it is, without one name."""

    def __init__(self, module, missing):
        super().__init__(module.__name__)
        self.__dict__["_content"] = module, missing

    def __getattr__(self, name):
        module, missing = self.__dict__["_content"]
        if name == missing:
            raise AttributeError(name)
        return getattr(module, name)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders for the Hub, with the models that they are of."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    models = {}
    for family in FAMILIES:
        for index, model in enumerate(family.models(**family.shallow)):
            models[folder / f"{family.name}_{index}"] = model
            save_for_hub(model, folder / f"{family.name}_{index}")
    return models


def load_code(folder, class_name, name):
    """The model class of this name in `folder`, of code that is imported anew."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[name] = importlib.util.module_from_spec(spec)
    family = folder.name.partition("_")[0]
    return getattr(importlib.import_module(f"{name}.modeling_{family}"), class_name)


@pytest.fixture
def imported(monkeypatch):
    """Forgets what a test imports."""
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


@pytest.mark.parametrize("name", sorted(WITH_FALLBACK) + ["torch.autograd.forward_ad._current_level"])
@torch.no_grad()
def test_published_models_load_without_a_private_name(name, saved, monkeypatch, imported):
    """As where another release has renamed it: results are the same, with less speed or without that one head."""
    module, _, missing = name.rpartition(".")
    removed = getattr(importlib.import_module(module), missing)
    if module == "torch.autograd.forward_ad":
        monkeypatch.delattr(forward_ad, missing)
    else:
        monkeypatch.setitem(sys.modules, module, Without(importlib.import_module(module), missing))
    pixel_values = torch.randn(2, 3, 57, 90)
    for folder, model in saved.items():
        model_class = load_code(folder, type(model).__name__, f"code_of_{folder.name}")
        code = sys.modules[f"code_of_{folder.name}.compat"]
        assert code.__file__ != compat.__file__
        assert all(value is not removed for value in vars(code).values())
        if "UperNet" in name and model.config.decode_head_type == "upernet":
            if not name.endswith("ConvModule"):
                with pytest.raises(ImportError, match="UPerNet"):
                    model_class.from_pretrained(folder)
            continue
        loaded = model_class.from_pretrained(folder)
        for flags in ({}, {"output_hidden_states": True, "output_attentions": True}):
            expected = model(pixel_values, **flags)
            assert_same(loaded(pixel_values, **flags), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_threads_record_apart_without_transformers_own(saved, monkeypatch, imported):
    monkeypatch.setitem(sys.modules, output_capturing.__name__, Without(output_capturing, "capture_outputs"))
    folder, model = list(saved.items())[-1]
    loaded = load_code(folder, type(model).__name__, "code_for_threads").from_pretrained(folder)
    pixels = [torch.randn(1, 3, 40, 48) for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        for mine, each in zip(threads.map(partial(loaded, output_hidden_states=True), pixels), pixels, strict=True):
            assert_same(mine, model(each, output_hidden_states=True), atol=1e-5, rtol=1e-5)


class RegistryOf524(dict):
    """Assignment takes a model, as in transformers 5.24."""

    def __setitem__(self, model, recorded):
        super().__setitem__(str(type(model)), recorded)

    def get(self, model):
        return super().get(str(type(model))) or {}


class RegistryOf517(dict):
    """Assignment takes the name of a model's class, as in transformers 5.17."""


@pytest.mark.parametrize("registry_class", [RegistryOf517, RegistryOf524])
def test_unpickled_models_are_registered_by_name(family, registry_class, monkeypatch):
    registry = registry_class()
    model = family.model_class(family.config(**family.shallow))
    monkeypatch.setattr(compat, "_registry", registry)
    compat.register_recording(model)
    assert dict(registry) == {str(type(model)): model._can_record_outputs}


@pytest.mark.skipif(type(output_capturing._CAN_RECORD_REGISTRY) is dict, reason="of transformers 5.24 and newer")
@torch.no_grad()
def test_recording_survives_a_registry_that_takes_models(family, monkeypatch):
    model, pixel_values = awake(family.model_class(family.config(**family.shallow))), torch.randn(1, 3, 40, 40)
    expected, content = model(pixel_values, output_hidden_states=True), pickle.dumps(model)
    registry = RegistryOf524()
    monkeypatch.setattr(output_capturing, "_CAN_RECORD_REGISTRY", registry)
    monkeypatch.setattr(compat, "_registry", registry)
    clone = pickle.loads(content)
    assert_same(clone(pixel_values, output_hidden_states=True), expected, atol=0, rtol=0)
