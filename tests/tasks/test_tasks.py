# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which task a name and a model mean; what tasks do is tested where they are used."""

import pytest
from datasets import Dataset
from torch import nn

from hf_gpvit.tasks import TASKS, find_task, task_called_by, task_of_model
from hf_gpvit.training import AUTO_CLASSES, DetectionRecipe
from small_detectors import KINDS, small_detector


def test_names():
    assert all(find_task(name) is task and task.recipe_class.task == task.name == name for name, task in TASKS.items())
    assert {name: task.auto_class for name, task in TASKS.items()} == AUTO_CLASSES
    with pytest.raises(ValueError, match="one of .*, object-detection, instance-segmentation, got 'detection'"):
        find_task("detection")


def test_models(family):
    assert task_called_by(family.model_class.__name__) is None
    wrapped = type(f"{family.segmentor_class.__name__}Sharded", (family.segmentor_class,), {})
    for model_class, name in (
        (family.classifier_class, "image-classification"),
        (family.segmentor_class, "semantic-segmentation"),
        (wrapped, "semantic-segmentation"),
    ):
        assert task_of_model(model_class(family.config())) is TASKS[name]
    with pytest.raises(ValueError, match="image-classification, .*, instance-segmentation, got a Linear"):
        task_of_model(nn.Linear(1, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_detectors(kind):
    name = "instance-segmentation" if kind == "masks" else "object-detection"
    assert task_of_model(small_detector(kind)) is TASKS[name]


def test_an_adapted_model_has_its_task(family):
    peft = pytest.importorskip("peft")
    model = family.segmentor_class(family.config(**family.shallow))
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["fc1"]))
    assert task_of_model(adapted) is TASKS["semantic-segmentation"]


def rows(*crowds):
    """A dataset with as many objects in each row as there are numbers, 1 for a crowd; the last row's is too small."""
    objects = [
        {"bbox": [[0, 0, 5, 5]] * len(crowd), "category": [0] * len(crowd), "iscrowd": crowd} for crowd in crowds
    ]
    objects.append({"bbox": [[0, 0, 5, 0.5]], "category": [0], "iscrowd": [0]})
    return Dataset.from_dict({"image_id": range(len(objects)), "objects": objects})


@pytest.mark.parametrize("is_stream", [False, True], ids=["dataset", "stream"])
def test_pictures_without_objects_are_left_out_in_training(is_stream):
    dataset = rows([0], [], [1], [1, 0], [1, 1])
    dataset = dataset.to_iterable_dataset() if is_stream else dataset
    for skip_empty, kept in ((True, [0, 3]), (False, [0, 1, 2, 3, 4, 5])):
        task = TASKS["object-detection"](DetectionRecipe(skip_empty=skip_empty), 1)
        assert [row["image_id"] for row in task.training_rows(dataset)] == kept


def test_none_has_an_object():
    task = TASKS["object-detection"](DetectionRecipe(), 1)
    with pytest.raises(ValueError, match="None of the 3 pictures to train on has an object to learn"):
        task.training_rows(rows([], [1]))
