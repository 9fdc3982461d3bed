# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""The training loop on tiny models and pictures whose colour tells their class."""

import json
import math
import multiprocessing
import stat
from dataclasses import replace

import datasets
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSemanticSegmentation,
    ViTConfig,
    ViTForImageClassification,
)

from colored_photos import COLORS
from families import FAMILIES, GPVIT
from hf_gpvit.tasks import TASKS
from hf_gpvit.training import SegmentationRecipe, TrainingStopped, engine, load_recipe, train
from hf_gpvit.training.run_log import read_log
from short_runs import ask_to_end, rates_and_norms, short_detection_run, stop_at


# what metrics.json says of the figures
ORIGIN = {"dataset": "classification", "split": "test"}


@pytest.fixture
def segmentation(photos, models, tmp_path):
    return SegmentationRecipe(
        model=str(models / "gpvit"),
        dataset=str(photos / "segmentation"),
        output_dir=str(tmp_path / "run"),
        crop_size=32,
        resize_size=[32, 128],
        batch_size=4,
        max_steps=6,
        eval_steps=3,
        logging_steps=2,
        learning_rate=3e-3,
        photometric_distortion=False,
    )


def weights(folder):
    return load_file(folder / "model.safetensors")


def assert_same_weights(first, second):
    first, second = weights(first), weights(second)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_classifier_learns_and_loads(classification, models, family, tmp_path):
    recipe = replace(classification, model=str(models / family.name), max_steps=60, eval_steps=30)
    metrics = train(recipe)
    assert metrics["accuracy"] == 1.0
    model = AutoModelForImageClassification.from_pretrained(tmp_path / "run/best")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "run/best")
    pixel_values = processor(Image.new("RGB", (50, 40), COLORS["red"]), return_tensors="pt").pixel_values
    assert model.config.id2label[model(pixel_values).logits.argmax(-1).item()] == "red"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_segmentor_from_a_classifier_learns_and_loads(segmentation, models, family, tmp_path):
    fields = {"max_steps": 40, "eval_steps": 20, "learning_rate": 1e-2, "scale_range": [1.0, 1.0]}
    metrics = train(replace(segmentation, model=str(models / family.name), **fields))
    assert metrics["mean_iou"] > 0.5  # one class everywhere: 0.25
    assert type(AutoModelForSemanticSegmentation.from_pretrained(tmp_path / "run/last")) is family.segmentor_class


@pytest.mark.slow
def test_detector_from_a_classifier_learns_and_loads(detection, tmp_path):
    fields = {"max_steps": 200, "eval_steps": 200, "batch_size": 4, "max_grad_norm": 1.0}
    metrics = train(replace(detection, **fields))
    main = "segm_map_50" if detection.task == "instance-segmentation" else "map_50"
    assert metrics[main] > 0.7
    model = TASKS[detection.task].auto_class.from_pretrained(tmp_path / "run/best")
    assert model.config.detector_type == detection.detector_type
    assert model.config.id2label == {0: "blue", 1: "red"}
    size = AutoImageProcessor.from_pretrained(tmp_path / "run/best").size
    assert (size.shortest_edge, size.longest_edge) == (40, 64)


def test_frozen_batch_norm_stays(classification, models, tmp_path):
    train(replace(classification, freeze_batch_norm=True, ema_decay=0.5))
    before, after = weights(models / "gpvit"), weights(tmp_path / "run/last")
    frozen = [name for name in after if ".batch_norm." in name]
    assert len(frozen) > 5 and all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["gpvit.layers.0.mlp.fc1.weight"], after["gpvit.layers.0.mlp.fc1.weight"])


def test_batch_norm_of_other_packages_is_not_frozen(classification, tmp_path):
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=32)
    ViTForImageClassification(config).save_pretrained(tmp_path / "vit")
    with pytest.raises(ValueError, match="freeze_batch_norm is for models of this package, but model='.*vit' isn't"):
        train(replace(classification, model=str(tmp_path / "vit"), freeze_batch_norm=True))


def test_what_a_run_leaves(classification, tmp_path):
    metrics = train(replace(classification, mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, max_grad_norm=1.0))
    run = tmp_path / "run"
    names = {path.name for path in run.iterdir()}
    assert names == {"best", "last", "checkpoints", "recipe.yaml", "data.json", "log.jsonl", "curves.png", ".lock"}
    assert len({stat.S_IMODE(path.stat().st_mode) for path in run.rglob("*") if path.is_file()}) == 1
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["step-00000003", "step-00000006"]
    records = read_log(run / "log.jsonl")
    steps = [record["step"] for record in records if "loss" in record]
    assert steps == [2, 3, 4, 6]
    assert [record["step"] for record in records if "eval/accuracy" in record] == [3, 6]
    saved = json.loads((run / "last/metrics.json").read_text())
    assert saved == {"step": 6} | metrics | ORIGIN
    assert Image.open(run / "curves.png").width > 500


def test_best_stays_when_a_later_evaluation_is_worse(classification, tmp_path, monkeypatch):
    figures = iter([0.5, 0.9, 0.7])
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"accuracy": next(figures)})
    assert train(replace(classification, eval_steps=2)) == {"accuracy": 0.7}
    assert json.loads((tmp_path / "run/best/metrics.json").read_text()) == {"step": 4, "accuracy": 0.9} | ORIGIN
    assert json.loads((tmp_path / "run/last/metrics.json").read_text()) == {"step": 6, "accuracy": 0.7} | ORIGIN


def test_weights_that_a_run_begins_with_are_noted(classification, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "base_model", lambda recipe: {"base_model": "you/model"})
    train(replace(classification, max_steps=1))
    assert json.loads((tmp_path / "run/best/metrics.json").read_text())["base_model"] == "you/model"


def test_accumulation_makes_as_many_steps_of_as_many_pictures(classification, tmp_path, monkeypatch):
    seen = []
    loss = engine.TASKS["image-classification"].loss

    def counted(task, model, batch):
        seen.append(len(batch["labels"]))
        return loss(task, model, batch)

    monkeypatch.setattr(engine.TASKS["image-classification"], "loss", counted)
    train(replace(classification, gradient_accumulation_steps=2, max_steps=3))
    assert seen == [2] * 6
    assert read_log(tmp_path / "run/log.jsonl")[-1]["step"] == 3


def test_the_whole_gradient_is_clipped_once_a_step(classification, monkeypatch):
    clipped = []
    clip = engine.accelerate.Accelerator.clip_grad_norm_
    monkeypatch.setattr(
        engine.accelerate.Accelerator, "clip_grad_norm_", lambda *arguments: clipped.append(clip(*arguments))
    )
    train(replace(classification, gradient_accumulation_steps=2, max_grad_norm=1.0, max_steps=3))
    assert len(clipped) == 3


def test_averaged_weights_are_saved(classification, tmp_path):
    train(replace(classification, max_steps=1, ema_decay=0.5, output_dir=str(tmp_path / "one")))
    train(replace(classification, max_steps=2, ema_decay=0.5, output_dir=str(tmp_path / "averaged")))
    train(replace(classification, max_steps=2, output_dir=str(tmp_path / "plain")))
    one, averaged, plain = (weights(tmp_path / name / "last") for name in ("one", "averaged", "plain"))
    # the schedule of one step is not that of two: only the direction can be compared
    name = "gpvit.layers.0.mlp.fc1.weight"
    assert not torch.equal(averaged[name], plain[name])
    assert not torch.equal(averaged[name], one[name])


@pytest.mark.parametrize(
    "fields",
    [{}, {"ema_decay": 0.9, "mixup_alpha": 0.8, "num_workers": 1}, {"drop_path_rate": 0.5, "batch_size": 2}],
    ids=["", "more", "amid an epoch"],
)
def test_a_run_asked_to_end_goes_on_as_if_nothing_had_happened(classification, tmp_path, monkeypatch, fields):
    assert_goes_on(replace(classification, **fields), tmp_path, monkeypatch)


def assert_goes_on(recipe, tmp_path, monkeypatch):
    """That a run of six steps, cut after the fourth and the fifth, ends with the weights of one that wasn't."""
    parts = recipe.gradient_accumulation_steps
    train(replace(recipe, output_dir=str(tmp_path / "whole")))
    with monkeypatch.context() as patch:
        stop_at(patch, 4 * parts, ask_to_end, recipe.task)
        with pytest.raises(TrainingStopped, match=r"after step 4 of 6.*step-00000004.*resume"):
            train(recipe)
    # 8 pictures: batches of 2 make step 4 the end of an epoch, so the run is cut once more, after step 5
    with monkeypatch.context() as patch:
        stop_at(patch, parts, ask_to_end, recipe.task)
        with pytest.raises(TrainingStopped, match=r"after step 5 of 6"):
            train(replace(recipe, resume=True))
    train(replace(recipe, resume=True))
    assert_same_weights(tmp_path / "run/last", tmp_path / "whole/last")
    steps = [record["step"] for record in read_log(tmp_path / "run/log.jsonl") if "loss" in record]
    assert steps == [2, 3, 4, 5, 6]


def test_a_detectors_run_goes_on_as_if_nothing_had_happened(photos, models, tmp_path, monkeypatch):
    """Regions are drawn at random, pictures have different sizes, and labels are lists."""
    fields = {"ema_decay": 0.9, "num_workers": 1, "freeze_batch_norm": True}
    fields |= {"drop_path_rate": 0.5, "zoom_rate": 0.5, "crop_size": 40, "photometric_distortion": True}
    recipe = short_detection_run("instance-segmentation", models / "gpvit", photos, tmp_path / "run", **fields)
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"segm_map": 0.5})
    assert_goes_on(recipe, tmp_path, monkeypatch)


def test_a_finished_run_ends_again(classification, tmp_path):
    metrics = train(classification)
    log = (tmp_path / "run/log.jsonl").read_text()
    (tmp_path / "run/last/metrics.json").unlink()
    assert train(replace(classification, resume=True)) == metrics
    assert json.loads((tmp_path / "run/last/metrics.json").read_text()) == {"step": 6} | metrics | ORIGIN
    assert (tmp_path / "run/log.jsonl").read_text() == log


def test_asked_to_end_while_evaluating(classification, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: ask_to_end({"accuracy": 0.5}))
    with pytest.raises(TrainingStopped, match="after step 3"):
        train(classification)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000003"]
    assert json.loads((tmp_path / "run/last/metrics.json").read_text()) == {"step": 3, "accuracy": 0.5} | ORIGIN


def test_best_is_remembered_when_a_run_goes_on(classification, tmp_path, monkeypatch):
    figures = iter([0.9, 0.7])
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"accuracy": next(figures)})
    with monkeypatch.context() as patch:
        stop_at(patch, 4, ask_to_end)
        with pytest.raises(TrainingStopped):
            train(classification)
    train(replace(classification, resume=True))
    assert json.loads((tmp_path / "run/best/metrics.json").read_text()) == {"step": 3, "accuracy": 0.9} | ORIGIN


def test_a_full_disk_keeps_the_former_checkpoint(classification, tmp_path, monkeypatch):
    save_state = engine.accelerate.Accelerator.save_state

    def full(accelerator, folder):
        if "00000006" in folder:
            raise RuntimeError("unexpected pos 1 vs 0")  # so PyTorch says it
        return save_state(accelerator, folder)

    monkeypatch.setattr(engine.accelerate.Accelerator, "save_state", full)
    with pytest.raises(OSError, match="step-00000006"):
        train(classification)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000003"]


def test_warm_up_schedule_head_and_clipping_reach_the_optimizer(classification, tmp_path, monkeypatch):
    seen = rates_and_norms(monkeypatch)
    fields = {"gradient_accumulation_steps": 2, "max_steps": 4, "learning_rate": 1e-3, "max_grad_norm": 1e-2}
    schedule = {"schedule": "poly", "warmup_steps": 2, "warmup_start_ratio": 0.5, "head_learning_rate_factor": 10}
    train(replace(classification, **fields, **schedule))
    # trunk and head, each with what decays and what doesn't; half, three quarters and all of 1, 3/4, 1/2, 1/4
    expected = [[rate, rate, 10 * rate, 10 * rate] for rate in (0.5e-3, 0.5625e-3, 0.5e-3, 0.25e-3)]
    assert [rates for rates, _ in seen] == [pytest.approx(rates) for rates in expected]
    assert all(norm <= 1.001e-2 for _, norm in seen)
    assert read_log(tmp_path / "run/log.jsonl")[0]["learning_rate"] == pytest.approx(
        0.5625e-3
    )  # the trunk's, of step 2


def test_gradients_start_at_zero_in_every_step(classification, monkeypatch):
    seen = rates_and_norms(monkeypatch)
    # the same gradient in all steps: next to no learning, and one batch of all pictures
    monkeypatch.setattr(engine.TASKS["image-classification"], "loss", constant_loss)
    train(replace(classification, gradient_accumulation_steps=2, max_steps=3, batch_size=4, weight_decay=0.0))
    assert [norm for _, norm in seen] == [pytest.approx(seen[0][1])] * 3


def constant_loss(task, model, batch):
    return model(pixel_values=batch["pixel_values"]).logits.sum() * 0 + model.classifier.bias.sum()


def test_what_is_evaluated_is_what_is_saved(classification, tmp_path, monkeypatch):
    evaluated = []

    def evaluate(model, *_, **__):
        evaluated.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"accuracy": 0.5}

    monkeypatch.setattr(engine, "evaluate_model", evaluate)
    train(replace(classification, ema_decay=0.5, eval_steps=6))
    saved = weights(tmp_path / "run/best")
    assert all(torch.equal(value, saved[name]) for name, value in evaluated[0].items())
    live = weights(tmp_path / "run/checkpoints/step-00000006")
    assert not all(torch.equal(value, saved[name]) for name, value in live.items())


def test_epochs_differ_in_order_and_augmentation(classification, monkeypatch):
    seen, loss = [], engine.TASKS["image-classification"].loss

    def seeing(task, model, batch):
        seen.append((batch["labels"].tolist(), batch["pixel_values"].clone()))
        return loss(task, model, batch)

    monkeypatch.setattr(engine.TASKS["image-classification"], "loss", seeing)
    train(replace(classification, batch_size=3, max_steps=0, num_train_epochs=3, eval_steps=6))
    assert [len(labels) for labels, _ in seen] == [3] * 6  # of 8 pictures, 2 are left out in each epoch
    assert len({tuple(seen[epoch][0] + seen[epoch + 1][0]) for epoch in (0, 2, 4)}) > 1
    pictures = [picture for _, batch in seen for picture in batch]
    assert not any(torch.equal(one, other) for i, one in enumerate(pictures) for other in pictures[:i])


def break_at(monkeypatch, step, name, value=math.nan):
    """Puts a number into a weight or statistic of the model that is trained, after this step of the optimizer."""
    follow, models = engine.Weights.follow, []
    optimize, calls = torch.optim.AdamW.step, []

    def following(weights, model):
        follow(weights, model)
        models.append(weights.trained)

    def breaking(optimizer, *arguments, **keywords):
        optimize(optimizer, *arguments, **keywords)
        calls.append(optimizer)
        if len(calls) == step:
            models[0].state_dict()[name].view(-1)[-1] = value

    monkeypatch.setattr(engine.Weights, "follow", following)
    monkeypatch.setattr(torch.optim.AdamW, "step", breaking)


BROKEN = ("gpvit.layers.0.mlp.fc1.weight", "gpvit.embeddings.stem.0.batch_norm.running_var")


@pytest.mark.parametrize("value", [math.nan, -math.inf])
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("ema_decay", [0.0, 0.5])
def test_weights_that_are_not_finite_are_neither_evaluated_nor_saved(
    classification, tmp_path, monkeypatch, name, value, ema_decay
):
    """Those of the last step, whose loss was finite; they are named."""
    figures = iter([0.5, 0.9])
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"accuracy": next(figures)})
    break_at(monkeypatch, 6, name, value)
    with pytest.raises(TrainingStopped, match=rf"after step 6: {name} is the first.*step-00000003 is kept"):
        train(replace(classification, ema_decay=ema_decay))
    assert next(figures) == 0.9
    assert json.loads((tmp_path / "run/best/metrics.json").read_text())["step"] == 3
    assert all(value.isfinite().all() for value in weights(tmp_path / "run/best").values())
    assert not (tmp_path / "run/last").exists()
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000003"]


def test_a_checkpoint_between_evaluations_is_checked_too(classification, tmp_path, monkeypatch):
    break_at(monkeypatch, 2, BROKEN[0])
    monkeypatch.setattr(engine.TASKS["image-classification"], "loss", constant_loss)
    with pytest.raises(TrainingStopped, match=f"after step 2: {BROKEN[0]} is the first.*There is no checkpoint yet"):
        train(replace(classification, save_steps=2))
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_model_that_begins_with_infinite_weights_is_refused(classification, tmp_path, monkeypatch):
    """Whatever made it; those of saved models are refused when they are loaded."""
    build = engine.build_training_model

    def spoiled(*arguments):
        model = build(*arguments)
        model.classifier.bias.data.fill_(math.inf)
        return model

    monkeypatch.setattr(engine, "build_training_model", spoiled)
    with pytest.raises(ValueError, match=r"weights of .*gpvit' are broken: classifier\.bias is not finite"):
        train(classification)
    assert not (tmp_path / "run/best").exists()


@pytest.mark.parametrize("figure", [math.nan, math.inf])
def test_a_main_figure_that_is_not_finite_ends_the_run(classification, tmp_path, monkeypatch, figure):
    """Such as that of masks without any class."""
    figures = iter([0.5, figure])
    monkeypatch.setattr(engine, "evaluate_model", lambda *_, **__: {"mean_iou": next(figures)})
    with pytest.raises(TrainingStopped, match=rf"after step 6 gave mean_iou={figure}.*eval_split.*step-00000003 is k"):
        train(classification)
    assert json.loads((tmp_path / "run/best/metrics.json").read_text())["step"] == 3


def test_a_tracker_that_is_not_there_is_named(classification):
    with pytest.raises(ValueError, match="trackers.*no-such"):
        train(replace(classification, trackers=["no-such"]))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(classification, tmp_path, monkeypatch):
    stop_at(monkeypatch, 5, lambda loss: loss * math.nan)
    with pytest.raises(TrainingStopped, match=r"nan at step 5.*step-00000003 is kept"):
        train(classification)
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000003"]
    assert all(value.isfinite().all() for value in weights(tmp_path / "run/checkpoints/step-00000003").values())


def test_a_folder_in_use_is_refused(classification, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="output_dir=.*resume"):
        train(classification)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]


def test_resuming_with_another_recipe_is_refused(classification):
    train(replace(classification, max_steps=3))
    with pytest.raises(ValueError, match="learning_rate=0.003.*learning_rate=0.1"):
        train(replace(classification, max_steps=3, learning_rate=0.1, resume=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 9}, "batch_size must be at most the 8 pictures"),
        ({"dataset": "no/such"}, "no/such"),
        ({"model": "no-such-model"}, "no-such-model"),
        ({"stripe_widths": [1, 2, 7, 7]}, "stripe_widths"),
        ({"model": "gpvit-nano", "model_fields": {"num_channels": 4}}, "num_channels must be 3 .*, got 4"),
        ({"model_fields": {"no_such": 1}, "dataset": "no/such"}, "has no 'no_such'; it has .*mlp_ratio"),
    ],
)
def test_mistakes_end_before_anything_is_written(classification, tmp_path, fields, message):
    with pytest.raises((ValueError, OSError), match=message):
        train(replace(classification, **fields))
    assert not (tmp_path / "run").exists()


def test_a_corrupt_picture_is_named_or_counted(classification, photos, tmp_path):
    files = sorted((photos / "classification/train").rglob("*.png"))
    contents = [b"no picture" if file.name == "1.png" else file.read_bytes() for file in files]
    columns = {
        "image": [{"bytes": content, "path": file.name} for content, file in zip(contents, files, strict=True)],
        "label": [file.parent.name for file in files],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(COLORS))})
    train_set = datasets.Dataset.from_dict(columns, features=features)
    train_set.to_parquet(tmp_path / "data/train-00000-of-00001.parquet")
    train_set.select([0]).to_parquet(tmp_path / "data/test-00000-of-00001.parquet")
    recipe = replace(classification, dataset=str(tmp_path / "data"), batch_size=8, max_steps=2)
    with pytest.raises(ValueError, match="1.png"):
        train(replace(recipe, output_dir=str(tmp_path / "failed")))
    train(replace(recipe, skip_corrupt=True))
    assert read_log(tmp_path / "run/log.jsonl")[0]["num_corrupt"] == 2  # in each of two epochs


@pytest.mark.parametrize("num_workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_stream_goes_on_where_it_was(classification, parquet, tmp_path, monkeypatch, num_workers):
    fields = {"dataset": str(parquet), "streaming": True, "num_workers": num_workers, "batch_size": 2, "max_steps": 12}
    recipe = replace(classification, **fields)
    train(replace(recipe, output_dir=str(tmp_path / "whole")))
    for step in (3, 5, 8):  # within an epoch and at the end of one
        with monkeypatch.context() as patch:
            stop_at(patch, step - last_step(tmp_path / "run"), ask_to_end)
            with pytest.raises(TrainingStopped, match=f"after step {step} of 12"):
                train(replace(recipe, resume=True))
    train(replace(recipe, resume=True))
    assert_same_weights(tmp_path / "run/last", tmp_path / "whole/last")
    assert not multiprocessing.active_children()


def last_step(run):
    return max((record["step"] for record in read_log(run / "log.jsonl")), default=0)


def test_checkpoints_have_a_rhythm_of_their_own(classification, tmp_path):
    train(replace(classification, eval_steps=6, save_steps=2, max_checkpoints=5))
    names = [path.name for path in sorted((tmp_path / "run/checkpoints").iterdir())]
    assert names == ["step-00000002", "step-00000004", "step-00000006"]


def test_a_stream_shorter_than_a_batch_ends(classification, parquet, tmp_path):
    recipe = replace(classification, dataset=str(parquet), streaming=True)
    with pytest.raises(ValueError, match="fewer pictures than the 16 of a batch"):
        train(replace(recipe, batch_size=16, output_dir=str(tmp_path / "short")))


def test_gradient_checkpointing_trains(classification, tmp_path):
    train(replace(classification, gradient_checkpointing=True, output_dir=str(tmp_path / "checkpointed")))
    train(classification)
    for name, value in weights(tmp_path / "run/last").items():
        torch.testing.assert_close(weights(tmp_path / "checkpointed/last")[name], value, atol=1e-4, rtol=1e-3)


def test_gpvit_config_of_the_recipe(classification, tmp_path):
    fields = {"drop_path_rate": 0.25, "model_fields": {"initializer_range": 0.1}}
    train(replace(classification, max_steps=1, **fields))
    config = GPVIT.classifier_class.from_pretrained(tmp_path / "run/last").config
    assert (config.drop_path_rate, config.initializer_range) == (0.25, 0.1)


def test_a_run_goes_on_by_its_saved_recipe(classification, tmp_path):
    """Also by one of before there were `model_fields`; with other ones it does not."""
    train(replace(classification, max_steps=1, model_fields={"initializer_range": 0.1}))
    path = tmp_path / "run/recipe.yaml"
    recipe = load_recipe(type(classification), path, ["--resume"])
    train(recipe)
    path.write_text(path.read_text().replace("model_fields:\n  initializer_range: 0.1\n", ""))
    for name in ("recipe.yaml", "manifest.json"):
        (tmp_path / "run/checkpoints/step-00000001" / name).unlink()
    with pytest.raises(ValueError, match=r"model_fields=\{\}: it can't go on with model_fields=\{'init"):
        train(recipe)
    train(replace(recipe, model_fields={}))
