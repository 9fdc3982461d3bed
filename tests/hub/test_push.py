# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Pushed models arrive whole, in one commit, privately, and load: over HTTP, from a Hub on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import ViTConfig, ViTModel

import hf_gpvit_cli
from elsewhere import without
from fake_hub import READ_TOKEN, TOKEN, Fault, Repo, hub_environment, running_hub
from families import GPVIT, HRVIT
from hf_gpvit.data import image_processor_for
from hf_gpvit.hub import folders, push, push_folder, push_model, save_for_hub
from small_detectors import small_model


# What a login page between here and the Hub answers.
PAGE = b"<html>\x1b]0;x\x07 log in " + b"here " * 1000

FIGURES = {"accuracy": 0.5, "top5_accuracy": 1.0}

# Runs `hf-gpvit push` with each list of arguments, and writes how each ends. The library waits between its attempts.
PUSH = """
import contextlib, io, json, sys, time
time.sleep = lambda seconds: None
import hf_gpvit_cli
results = []
for arguments in json.loads(sys.argv[1]):
    out, result = io.StringIO(), {"code": 0, "message": ""}
    try:
        with contextlib.redirect_stdout(out):
            hf_gpvit_cli.main(["push", *arguments])
    except SystemExit as ended:
        result = {"code": 1 if isinstance(ended.code, str) else ended.code, "message": str(ended.code)}
    results.append(result | {"out": out.getvalue()})
print(json.dumps(results))
"""

# Loads from the Hub as somebody without the package does.
LOAD = (
    without("hf_gpvit")
    + """
import torch, transformers
loaded = {}
for name in ("AutoModel", "AutoModelForImageClassification", "AutoBackbone"):
    model = getattr(transformers, name).from_pretrained("you/classifier", trust_remote_code=True)
    loaded[name] = (type(model).__module__, model.state_dict())
loaded["size"] = dict(transformers.AutoImageProcessor.from_pretrained("you/classifier").size)
for task, name in (
    ("image-classification", "you/classifier"),
    ("image-segmentation", "you/segmentor"),
    ("object-detection", "you/detector"),
):
    run = transformers.pipeline(task, model=name, trust_remote_code=True)
    loaded[task] = [result["label"] for result in run(sys.argv[2])]
loaded["processor"] = type(run.image_processor).__module__
torch.save(loaded, sys.argv[1])
"""
)


@pytest.fixture(scope="module")
def hub():
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folders: classifier and unevaluated as save_for_hub writes them, best as a run does."""
    root = tmp_path_factory.mktemp("push")
    torch.manual_seed(0)
    classifier = GPVIT.classifier_class(GPVIT.config()).eval()
    options = {"dataset": "you/photos", "model_name": "you/classifier"}
    save_for_hub(classifier, root / "classifier", metrics=FIGURES, **options)
    save_for_hub(classifier, root / "sharded", metrics=FIGURES, max_shard_size="100KB", **options)
    save_for_hub(classifier, root / "unevaluated", model_name="you/unevaluated")
    (root / "classifier/.env").write_text("mine")
    segmentor = HRVIT.segmentor_class(HRVIT.config()).eval()
    segmentor.save_pretrained(root / "run/best")
    image_processor_for(segmentor).save_pretrained(root / "run/best")
    (root / "run/best/metrics.json").write_text('{"step": 3, "mean_iou": 0.4321, "mean_accuracy": null}')
    (root / "run/best/recipe.yaml").write_text("dataset: /home/you/my-scenes\n")
    detector = small_model("boxes", num_labels=3)
    detector.save_pretrained(root / "run/detector")
    image_processor_for(detector, 64).save_pretrained(root / "run/detector")
    (root / "run/detector/metrics.json").write_text('{"step": 3, "map": 0.1234, "map_50": 0.5, "map_large": null}')
    (root / "run/detector/recipe.yaml").write_text("dataset: /home/you/my-cells\ntask: object-detection\n")
    for name in ("plain", "foreign"):
        (classifier if name == "plain" else ViTModel(ViTConfig(hidden_size=12, num_hidden_layers=1))).save_pretrained(
            root / name
        )
        image_processor_for(classifier).save_pretrained(root / name)
    Image.new("RGB", (50, 40), "tan").save(root / "photo.png")
    return root


def run_code(code, *arguments, **options):
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, **options
    )
    for token in (TOKEN, READ_TOKEN):
        assert token not in result.stdout + result.stderr
    return result


def run_push(hub, root, *cases, **variables):
    """How `hf-gpvit push` ends with each of the arguments: code, message, out."""
    result = run_code(PUSH, json.dumps(cases), env=hub_environment(hub, root, **variables), cwd=root)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def pushed(hub, root):
    """How each push of one process ended, by repository; several pushes to one in a list."""
    hub.repos["library/model"] = Repo(private=True)
    hub.faults += [
        Fault("PUT", "you/cut-upload"),
        Fault("POST", "you/cut-answer/commit", is_after=True),
        Fault("POST", "you/cut-commit/commit"),
        Fault("GET", "you/busy/auth-check", status=503),
        Fault("POST", "you/busy/commit", status=500, times=2),
        Fault("PUT", "you/always-cut", times=float("inf")),
        Fault("POST", "you/forbidden/preupload", status=403),
        Fault("GET", "models/you/odd-list", status=200, body=b"[]", times=float("inf")),
        Fault("GET", "models/you/odd-info", status=200, body=b'{"id": "you/odd-info"}', times=float("inf")),
        Fault("POST", "you/odd-page/preupload", status=200, body=PAGE),
        Fault("POST", "you/odd-commit/commit", status=200, body=b"null"),
        Fault(
            "POST",
            "you/odd-refusal/preupload",
            status=400,
            body=b'{"error": "\\u001b]0;x\\u0007 hf_%s"}' % (b"w" * 34),
        ),
    ]
    cases = [
        ["classifier", "you/classifier", "--public", "--commit_message", "First"],
        ["run/best", "you/segmentor"],
        ["run/detector", "you/detector"],
        ["classifier", "you/cut-upload"],
        ["classifier", "you/cut-answer"],
        ["classifier", "you/cut-commit"],
        ["classifier", "you/busy"],
        ["classifier", "you/always-cut"],
        ["classifier", "you/forbidden"],
        ["classifier", "you/odd-list"],
        ["classifier", "you/odd-info"],
        ["classifier", "you/odd-page"],
        ["classifier", "you/odd-commit"],
        ["classifier", "you/odd-refusal"],
        ["unevaluated", "you/unevaluated"],
        ["unevaluated", "you/no-figures", "--allow_unevaluated"],
        ["plain", "you/plain"],
        ["plain", "you/no-card", "--allow_unevaluated"],
        ["foreign", "you/foreign", "--allow_unevaluated"],
        ["classifier", "you/twice"],
        ["classifier", "you/twice"],
        ["sharded", "you/twice"],
        ["classifier", "you/twice", "--revision", "v1"],
        ["classifier", "you/twice", "--public"],
        ["classifier", "you/families"],
        ["run/best", "you/families"],
        ["classifier", "others/model"],
        ["classifier", "library/model"],
        ["classifier", "library/new"],
        ["run", "you/run"],
        ["nowhere", "you/nowhere"],
        ["classifier", "no-owner"],
        ["classifier", "you/two words"],
        ["classifier", "you/labelled", "--dataset", "other"],
        ["classifier", "you/with-onnx", "--onnx"],
    ]
    results = {}
    for case, result in zip(cases, run_push(hub, root, *cases), strict=True):
        results.setdefault(case[1], []).append(result)
    return results


def commits(hub, name, branch="main"):
    """Those besides the one with which the Hub begins a repository."""
    return hub.repos[name].branches[branch][1:]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def uploaded(commit):
    return {name: content for name, content in commit.files.items() if name != ".gitattributes"}


def test_folder_arrives_whole_in_one_commit(hub, root, pushed):
    (result,) = pushed["you/classifier"]
    assert (result["code"], result["message"]) == (0, "")
    (commit,) = commits(hub, "you/classifier")
    assert uploaded(commit) == contents(root / "classifier")
    assert commit.message == "First"
    assert f"{hub.url}/you/classifier (public): {hub.url}/you/classifier/commit/{commit.sha}" in result["out"]


def test_private_unless_told_otherwise(hub, pushed):
    assert not hub.repos["you/classifier"].private
    assert all(repo.private for name, repo in hub.repos.items() if name != "you/classifier")


def test_run_gets_card_on_the_way(hub, root, pushed):
    assert pushed["you/segmentor"][0]["code"] == 0
    (commit,) = commits(hub, "you/segmentor")
    assert commit.message == "Upload HRViTForSemanticSegmentation"
    assert commit.files["model.safetensors"] == (root / "run/best/model.safetensors").read_bytes()
    assert json.loads(commit.files["config.json"])["auto_map"]["AutoModel"] == "modeling_hrvit.HRViTModel"
    card = commit.files["README.md"].decode()
    assert "43.21 %" in card
    assert "you/segmentor" in card
    assert "my-scenes" in card
    assert "/home" not in card
    assert {"metrics.json", "recipe.yaml", "modeling_hrvit.py"} <= commit.files.keys()
    assert not (root / "run/best/README.md").exists()


def test_detector_gets_card_and_code_on_the_way(hub, pushed):
    assert pushed["you/detector"][0]["code"] == 0
    (commit,) = commits(hub, "you/detector")
    assert commit.message == "Upload GPViTForObjectDetection"
    card = commit.files["README.md"].decode()
    assert "| mAP | 12.34 % |" in card
    assert "Measured on my-cells;" in card
    assert "of 64x128 pixels, with 50 regions" in card
    code = {"modeling_gpvit_detection.py", "image_processing_gpvit_detection.py", "detection_masks.py"}
    assert code | {"metrics.json", "recipe.yaml", "preprocessor_config.json"} <= commit.files.keys()


def test_others_load_it(hub, root, pushed):
    run_code(LOAD, root / "loaded.pt", root / "photo.png", env=hub_environment(hub, root), cwd=root).check_returncode()
    loaded = torch.load(root / "loaded.pt")
    expected = load_file(root / "classifier/model.safetensors")
    expected = {key.removeprefix("gpvit."): value for key, value in expected.items()}
    for name in ("AutoModel", "AutoBackbone", "AutoModelForImageClassification"):
        module, weights = loaded[name]
        assert module.startswith("transformers_modules.")
        own = {key.removeprefix("gpvit."): value for key, value in weights.items()}
        common = own.keys() & expected.keys()
        assert len(common) > 50
        assert all(torch.equal(own[key], expected[key]) for key in common)
    assert common == expected.keys()  # of the last
    assert loaded["size"] == {"shortest_edge": 45}
    assert len(loaded["image-classification"]) == 5
    assert loaded["image-segmentation"]
    assert set(loaded["object-detection"]) <= {"LABEL_0", "LABEL_1", "LABEL_2"}
    assert loaded["processor"].startswith("transformers_modules.")


@pytest.mark.parametrize("name", ["cut-upload", "cut-answer", "cut-commit", "busy"])
def test_broken_connection_ends_in_one_commit(name, hub, root, pushed):
    (result,) = pushed[f"you/{name}"]
    assert (result["code"], result["message"]) == (0, "")
    assert all(fault.times == 0 for fault in hub.faults if f"you/{name}/" in f"{fault.part}/")
    (commit,) = commits(hub, f"you/{name}")
    assert uploaded(commit) == contents(root / "classifier")
    assert commit.sha in result["out"]


@pytest.mark.parametrize("name", ["always-cut", "forbidden"])
def test_failed_push_commits_nothing(name, hub, pushed):
    (result,) = pushed[f"you/{name}"]
    assert result["code"] == 1
    assert "Traceback" not in result["message"]
    assert f"you/{name}" in result["message"]
    assert ("could not be reached" in result["message"]) == (name == "always-cut")
    assert not commits(hub, f"you/{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd-list", "TypeError .*list"),
        ("odd-info", "TypeError expected a bool, got None"),
        ("odd-page", r"<html>\\x1b\]0;x\\x07 log in (here ){9}.*\.\.\."),
        ("odd-commit", "TypeError .*NoneType"),
        ("odd-refusal", r"refuses you/odd-refusal \(400, .*\\x1b\]0;x\\x07 \*\*\*"),
    ],
)
def test_answers_that_are_none(name, message, hub, pushed):
    """On one line, which names the Hub, without what a terminal would obey."""
    (result,) = pushed[f"you/{name}"]
    assert result["code"] == 1
    assert re.search(message, result["message"])
    assert result["message"].isprintable()
    assert len(result["message"]) < 500
    if name != "odd-refusal":
        assert f"{hub.url} gives answers that are none of the Hub's" in result["message"]
    assert not commits(hub, f"you/{name}")


@pytest.mark.parametrize(
    "user",
    [
        *([], None, {}, 3, {"name": None}, {"name": "you", "orgs": [{}]}, {"name": "you", "orgs": 3}),
        {"name": "you", "auth": [1]},
    ],
)
def test_users_that_are_none(user, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(push.HfApi, "whoami", lambda api: user)
    with pytest.raises(ValueError, match=rf"^{push.constants.ENDPOINT} gives answers .*Error.*\?$"):
        push.prepare_repo("you/model")


def test_users_about_whom_little_is_said():
    assert push._role_and_owners({"name": "you", "orgs": None, "auth": None}) == (None, ["you"])
    user = {"name": "you", "orgs": [{"name": "lab"}], "auth": {"accessToken": {"role": "read"}}}
    assert push._role_and_owners(user) == ("read", ["you", "lab"])


def test_second_push(hub, root, pushed):
    """Of the same files it commits nothing; of others it leaves no weights that would be preferred to the new ones."""
    first, again, sharded, branch, public = pushed["you/twice"]
    assert first == again
    assert [first["code"], sharded["code"], branch["code"]] == [0, 0, 0]
    one, two = commits(hub, "you/twice")
    assert uploaded(one) == contents(root / "classifier")
    assert uploaded(two) == contents(root / "sharded")
    assert public["code"] == 1
    assert "you/twice is private" in public["message"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("you/unevaluated", "save_for_hub.*metrics=, dataset=.*allow_unevaluated"),
        ("others/model", "only to what belongs to you, lab"),
        ("library/new", "may not write to library/new"),
        ("you/plain", "no figures of an evaluation"),
        ("you/foreign", "model of this package.*ViTModel"),
        ("you/run", "no config.json, .*Do you mean run/best"),
        ("you/nowhere", "no folder nowhere"),
        ("no-owner", "'no-owner'.*no owner"),
        ("you/two words", "'you/two words'"),
        ("you/labelled", "has its card already"),
        ("you/with-onnx", r"has its card already.*save_for_hub\(onnx=True\)"),
    ],
)
def test_mistakes(name, message, hub, pushed):
    (result,) = pushed[name]
    assert result["code"] == 1
    assert re.search(message, result["message"].replace(os.sep, "/"))
    assert name not in hub.repos
    assert not any(path.endswith(f"{name}/preupload/main") for _, path in hub.requests)


@pytest.mark.parametrize("name", ["you/no-figures", "you/no-card"])
def test_without_evaluation(name, hub, pushed):
    assert pushed[name][0]["code"] == 0
    (commit,) = commits(hub, name)
    assert "## Results" not in commit.files["README.md"].decode()


@pytest.mark.parametrize(
    ("token", "message"),
    [
        pytest.param(None, "HF_TOKEN.*hf auth login", marks=pytest.mark.slow),
        (READ_TOKEN, "for reading"),
        pytest.param("hf_nobody", "does not accept the token", marks=pytest.mark.slow),
        pytest.param("hf_odd\x07token", "characters", marks=pytest.mark.slow),
    ],
)
def test_tokens(token, message, hub, root):
    variables = {"HF_TOKEN": token or ""}
    before = dict(hub.repos)
    (result,) = run_push(hub, root, ["classifier", "you/token"], **variables)
    assert result["code"] == 1
    assert re.search(message, result["message"])
    assert not token or token not in result["message"]
    assert hub.repos == before


def test_no_right_to_write_to_a_repository_that_is_there(hub, pushed):
    """Nothing is sent: the Hub is asked first."""
    (result,) = pushed["library/model"]
    assert result["code"] == 1
    assert "may not write to library/model" in result["message"]
    assert not any("library/model/preupload" in path for _, path in hub.requests)


def test_code_of_another_family_goes(hub, pushed):
    assert [result["code"] for result in pushed["you/families"]] == [0, 0]
    gpvit, hrvit = commits(hub, "you/families")
    assert "modeling_gpvit.py" in gpvit.files
    assert {name for name in hrvit.files if "gpvit" in name} == set()
    assert "modeling_hrvit.py" in hrvit.files


@pytest.mark.parametrize("cause", [None, ConnectionError("reset"), ValueError("no connection")])
def test_runtime_errors_are_retried_where_a_connection_is_behind_them(cause, monkeypatch):
    monkeypatch.setattr(push.time, "sleep", lambda seconds: None)
    attempts = []

    def call():
        attempts.append(1)
        raise RuntimeError("while uploading") from cause

    is_connection = isinstance(cause, ConnectionError)
    with pytest.raises(ConnectionError if is_connection else RuntimeError, match="reset" if is_connection else "uplo"):
        push._retried(call, "you/model")
    assert len(attempts) == (len(push.WAITS) + 1 if is_connection else 1)


# ---- what is found without a Hub


@pytest.mark.parametrize(
    "missing", ["config.json", "preprocessor_config.json", "model.safetensors", "README.md", "modeling_gpvit.py"]
)
def test_incomplete_folders(missing, tmp_path):
    folder = save_for_hub(
        GPVIT.classifier_class(GPVIT.config()), tmp_path / "model", metrics=FIGURES, dataset="photos"
    )
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=missing):
        push_folder(folder, "you/model")


@pytest.mark.parametrize(
    "other", ["model.safetensors.index.json", "pytorch_model.bin", "model.fp16.safetensors", "adapter_config.json"]
)
def test_other_weights_beside_those_that_are_checked(other, root, tmp_path):
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder=True)
    name = "other.safetensors" if other.endswith(".index.json") else "model.safetensors"
    (folder / other).write_text(json.dumps({"weight_map": {"classifier.weight": name}}))
    with pytest.raises(ValueError, match=f"{other}.*[Rr]emove"):
        push_folder(folder, "you/model")


def test_config_that_names_other_weights(root, tmp_path):
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder=True)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"transformers_weights": "other.safetensors"}))
    with pytest.raises(ValueError, match="config.json must have no transformers_weights, got 'other.safetensors'"):
        push_folder(folder, "you/model")


def test_what_is_loaded_is_what_was_checked(to_hub, monkeypatch):
    """Whatever else lies in a folder of save_pretrained, and however transformers finds it."""
    load = GPVIT.classifier_class.from_pretrained

    def load_others(folder):
        model = load(folder)
        model.classifier.weight.data += 1
        return model

    monkeypatch.setattr(GPVIT.classifier_class, "from_pretrained", load_others)
    with pytest.raises(ValueError, match="has classifier.weight twice.*model.safetensors"):
        to_hub({"metrics.json": {"accuracy": 0.5}}, dataset="photos")


def test_old_weights_that_nobody_loads_stay_here(to_hub, root):
    folder = to_hub({"metrics.json": {"accuracy": 0.5}, "pytorch_model.bin": {}}, dataset="photos")
    assert not (folder / "pytorch_model.bin").exists()
    assert (folder / "model.safetensors").read_bytes() == (root / "classifier/model.safetensors").read_bytes()


def test_missing_shard(root, tmp_path):
    folder = save_for_hub(GPVIT.classifier_class(GPVIT.config()), tmp_path / "model", max_shard_size="100KB")
    shard = sorted(folder.glob("model-*.safetensors"))[0]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=shard.name):
        push_folder(folder, "you/model", allow_unevaluated=True)


@pytest.mark.parametrize("figures", ['{"step": 3}', '{"step": 3, "accuracy": null}', '{"mean_iou": 0.5}'])
def test_figures_that_say_nothing(figures, root):
    """Those of another task neither."""
    (root / "plain/metrics.json").write_text(figures)
    with pytest.raises(ValueError, match="accuracy or top5_accuracy: evaluate"):
        push_model(root / "plain", "you/model")


def test_figures_beside_a_card_without_results(tmp_path):
    """Others would not see them."""
    folder = save_for_hub(GPVIT.classifier_class(GPVIT.config()), tmp_path / "model")
    (folder / "metrics.json").write_text('{"accuracy": 0.5}')
    for push_it in (push_model, push_folder):
        with pytest.raises(ValueError, match="README.md.* no results.*save_for_hub"):
            push_it(folder, "you/model")


def copied(folder, new, is_hub_folder):
    """A folder to break: of save_for_hub, or as save_pretrained leaves it."""
    shutil.copytree(folder, new)
    if not is_hub_folder:
        for path in [new / "README.md", *new.glob("*.py")]:
            path.unlink()
    return new


@pytest.mark.parametrize("is_hub_folder", [True, False])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "model.safetensors is broken"),
        ("no head", "classifier.* and is missing"),
        ("other head", r"classifier.weight must be of shape \[5, .*and is of shape \[7,"),
    ],
)
def test_broken_weights(damage, message, is_hub_folder, root, tmp_path):
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder)
    file = folder / "model.safetensors"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        weights = load_file(file)
        kept = {name: value for name, value in weights.items() if "classifier" not in name}
        save_file(kept if damage == "no head" else weights | {"classifier.weight": torch.zeros(7, 24)}, file)
    with pytest.raises(ValueError, match=message):
        push_model(folder, "you/model")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("config.json", "{", "config.json is no JSON"),
        ("config.json", "[]", "config.json must hold a JSON object"),
        ("preprocessor_config.json", "3", "preprocessor_config.json must hold a JSON object"),
        ("metrics.json", "[]", "metrics.json"),
        ("recipe.yaml", "a: [", "recipe.yaml is no YAML"),
        ("recipe.yaml", "- a", "recipe.yaml must hold a mapping"),
        ("model.safetensors.index.json", "{}", "model.safetensors.index.json must say in weight_map"),
    ],
)
def test_broken_files(name, text, message, root, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder=False)
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        push_model(folder, "you/model")


@pytest.mark.parametrize("is_hub_folder", [True, False])
def test_image_processors_of_which_nothing_comes(is_hub_folder, root, tmp_path):
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder)
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_std": [1e-38] * 3}))
    with pytest.raises(ValueError, match="preprocessor_config.json of .* image_std must have numbers"):
        push_model(folder, "you/model")


@pytest.fixture
def to_hub(root, monkeypatch, tmp_path):
    """Pushes a plain folder with these files, to a folder -> it."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(push, "prepare_repo", lambda *args, **kwargs: None)
    monkeypatch.setattr(push, "_upload", lambda folder, *args: shutil.copytree(folder, tmp_path / "hub"))

    def run(files, **arguments):
        folder = copied(root / "classifier", tmp_path / "model", is_hub_folder=False)
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        return push_model(folder, "you/model", **arguments)

    return run


@pytest.mark.parametrize(
    ("measured_on", "recipe", "given", "card"),
    [
        # older ones, of which nobody knows whether they are names on the Hub
        ({}, "data/photos", None, ["Measured on photos;", "Dataset: photos."]),
        (
            {},
            "data/photos",
            "you/photos",
            ["on you/photos;", "Dataset: you/photos.", "datasets:\n- you/photos"],
        ),
        ({"dataset": "photos", "split": "test"}, "data/photos", None, ["on photos (test);", "Dataset: photos."]),
        (
            {"dataset": "you/photos", "split": "test"},
            "you/photos",
            None,
            ["on you/photos (test);", "Dataset: you/photos.", "datasets:\n- you/photos"],
        ),
        ({"dataset": "you/hard", "split": "test"}, "data/photos", None, ["on you/hard (test);", "Dataset: photos."]),
        ({"dataset": "hard", "split": "test"}, "x", "you/photos", ["on hard (test);", "datasets:\n- you/photos"]),
    ],
)
def test_card_names_datasets_as_the_run_noted_them(measured_on, recipe, given, card, to_hub, tmp_path, monkeypatch):
    """What lies on the disk when it is pushed doesn't matter."""
    (tmp_path / "you/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    files = {"metrics.json": {"accuracy": 0.5} | measured_on, "recipe.yaml": {"dataset": recipe}}
    text = (to_hub(files, dataset=given) / "README.md").read_text(encoding="utf-8")
    assert all(part in text for part in card)
    assert ("datasets:" in text) == any("datasets:" in part for part in card)


def test_onnx_file_goes_along(to_hub, root, tmp_path, monkeypatch, capsys):
    def export(model, path):
        path.parent.mkdir()
        path.write_text(type(model).__name__)

    monkeypatch.setattr(folders, "export_onnx", export)
    hf_gpvit_cli.main(["push", str(root / "plain"), "you/model", "--onnx", "--allow_unevaluated"])
    folder = tmp_path / "hub"
    assert (folder / "onnx/model.onnx").read_text() == "GPViTForImageClassification"
    assert "## ONNX" in (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("given", "expected"), [(None, "mit"), ("cc-by-4.0", "cc-by-4.0")])
def test_licence_is_the_recipes_unless_given(given, expected, to_hub):
    files = {"metrics.json": {"accuracy": 0.5}, "recipe.yaml": {"dataset": "photos", "hub_license": "mit"}}
    assert f"license: {expected}\n" in (to_hub(files, license=given) / "README.md").read_text(encoding="utf-8")


def test_broken_card(root, tmp_path):
    folder = copied(root / "classifier", tmp_path / "model", is_hub_folder=True)
    (folder / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(ValueError, match=r"README\.md is no model card"):
        push_folder(folder, "you/model")
