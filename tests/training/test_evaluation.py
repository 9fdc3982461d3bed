# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Figures against a computation by hand, and against what pipelines say picture by picture."""

import copy
import math
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset, Features, IterableDataset, Value
from datasets import Image as ImageFeature
from PIL import ExifTags, Image
from torch import nn
from torch.nn import functional as F
from transformers import SegformerImageProcessor, ViTImageProcessor, pipeline

from hf_gpvit.data import image_processor_for
from hf_gpvit.data.pictures import UnreadablePictureError
from hf_gpvit.inference.segmentation import SegmentationSettings
from hf_gpvit.training import evaluate_model


NAMES = ("sky", "road", "car", "tree")
SIZES = [(40, 40), (57, 33), (24, 80), (9, 7)]
MODES = ("RGB", "L", "RGBA", "P")


def noise(width, height, mode="RGB", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


class Reader(nn.Module):
    """Reads the class off the red channel of the picture: predictions are what a test writes into it."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(
            num_labels=len(NAMES),
            id2label=dict(enumerate(NAMES)),
            semantic_loss_ignore_index=255,
            problem_type="single_label_classification",
        )
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.num_seen = 0
        self.batches = []

    def scores(self, pixel_values):
        assert not self.training
        self.num_seen += len(pixel_values)
        self.batches.append(len(pixel_values))
        return F.one_hot(pixel_values[:, 0].long(), self.config.num_labels).movedim(-1, 1).float()


class ReaderForSemanticSegmentation(Reader):
    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.scores(pixel_values))


class ReaderForImageClassification(Reader):
    def forward(self, pixel_values):
        return SimpleNamespace(logits=self.scores(pixel_values).mean((2, 3)))


def plain(processor_class):
    return processor_class(do_resize=False, do_rescale=False, do_normalize=False)


def red(values):
    values = np.array(values, np.uint8)
    return Image.fromarray(np.stack([values, 0 * values, 0 * values], axis=-1))


def segmentation_dataset(*pairs):
    """Of predicted and true ids, for the model that reads the former."""
    columns = {"image": [red(predicted) for predicted, _ in pairs]}
    columns["annotation"] = [Image.fromarray(np.array(truth, np.uint8)) for _, truth in pairs]
    return Dataset.from_dict(columns)


def evaluate_segmentation(dataset, **options):
    model = ReaderForSemanticSegmentation().train()
    return evaluate_model(model, plain(SegformerImageProcessor), dataset, **options)


def segmentation_by_hand(*pairs):
    return evaluate_segmentation(segmentation_dataset(*pairs))


def evaluate_classification(dataset, **options):
    model = ReaderForImageClassification().train()
    return evaluate_model(model, plain(ViTImageProcessor), dataset, **options)


def test_accuracy_by_hand():
    """Over batches, the last of which is not full; each picture counts the same whatever its class."""
    predictions = [index % 3 for index in range(70)]
    labels = [0 if index < 45 else 3 for index in range(70)]
    columns = {"image": [red(np.full((4, 4), value)) for value in predictions], "label": labels}
    dataset = Dataset.from_dict(columns)
    metrics = evaluate_model(ReaderForImageClassification().train(), plain(ViTImageProcessor), dataset)
    assert metrics == {"accuracy": pytest.approx(15 / 70)}


def test_mean_iou_by_hand():
    """Intersections and unions are summed over pictures of different sizes before they are divided."""
    metrics = segmentation_by_hand(
        # predicted and true ids
        ([[0, 0, 1], [2, 1, 1]], [[0, 1, 1], [2, 2, 1]]),
        ([[0], [3], [3], [0]], [[0], [0], [3], [3]]),
    )
    per_class = {"iou/sky": 2 / 5, "iou/road": 2 / 4, "iou/car": 1 / 2, "iou/tree": 1 / 3}
    means = {
        "mean_iou": sum(per_class.values()) / 4,
        "mean_accuracy": (2 / 3 + 2 / 3 + 1 / 2 + 1 / 2) / 4,
        "overall_accuracy": 6 / 10,
    }
    assert metrics == pytest.approx(means | per_class)
    assert list(metrics) == [*means, *per_class]


def test_what_is_ignored_is_the_models():
    """Which may have 255 classes or more."""
    model = ReaderForSemanticSegmentation()
    model.config.semantic_loss_ignore_index = 77
    dataset = segmentation_dataset(([[0, 1, 2]], [[0, 77, 2]]))
    assert evaluate_model(model, plain(SegformerImageProcessor), dataset)["mean_accuracy"] == 1


def test_top5_by_hand():
    """The model gives every other class the same, of which the lower ids are the higher ones."""
    model = ReaderForImageClassification()
    model.config.num_labels = 7
    dataset = Dataset.from_dict({"image": [red(np.full((4, 4), 6))] * 7, "label": range(7)})
    metrics = evaluate_model(model, plain(ViTImageProcessor), dataset, batch_size=3)
    assert metrics == {"accuracy": pytest.approx(1 / 7), "top5_accuracy": pytest.approx(5 / 7)}


def test_reduced_labels():
    """Where the image processor says so, 0 is nothing and classes start at 1."""
    columns = {"image": [red([[0, 1, 2, 3]])], "annotation": [Image.fromarray(np.array([[1, 2, 4, 0]], np.uint8))]}
    processor = plain(SegformerImageProcessor)
    processor.do_reduce_labels = True
    metrics = evaluate_model(ReaderForSemanticSegmentation(), processor, Dataset.from_dict(columns))
    assert metrics["overall_accuracy"] == pytest.approx(2 / 3)
    assert metrics["iou/sky"] == metrics["iou/road"] == 1
    assert metrics["iou/car"] == metrics["iou/tree"] == 0


# --- as pipelines see it


def test_accuracy_is_the_pipelines(family):
    model = family.classifier_class(family.config()).eval()
    processor = image_processor_for(model, 40)
    images = [noise(*SIZES[index % 4], MODES[index % 3], seed=index) for index in range(40)]
    predict = pipeline("image-classification", model=model, image_processor=processor)
    predictions = [model.config.label2id[answer[0]["label"]] for answer in predict([i.convert("RGB") for i in images])]
    # right for 13 of 40
    labels = [
        prediction if index % 3 == 0 and index < 39 else (prediction + 1) % 5
        for index, prediction in enumerate(predictions)
    ]
    dataset = Dataset.from_dict({"name": ["a"] * 40, "image": images, "label": labels})
    metrics = evaluate_model(model.train(), processor, dataset, batch_size=7)
    assert metrics == {"accuracy": pytest.approx(13 / 40), "top5_accuracy": 1}
    assert next(iter(metrics)) == "accuracy"


def segmented_by_pipeline(model, processor, image):
    """(H, W) class ids, by the pipeline's masks."""
    predict = pipeline("image-segmentation", model=model, image_processor=processor)
    ids = np.full((image.height, image.width), 255, np.uint8)
    for segment in predict(image.convert("RGB")):
        ids[np.asarray(segment["mask"]) > 0] = model.config.label2id[segment["label"]]
    return ids


@pytest.mark.parametrize("head", ["segformer", "upernet"])
def test_iou_is_the_pipelines(family, head):
    """Pictures of any size and mode, predictions at the annotations' size."""
    model = family.segmentor_class(family.config(decode_head_type=head)).eval()
    processor = image_processor_for(model, 32)
    images = [noise(*size, mode, seed) for seed, (size, mode) in enumerate(zip(SIZES, MODES, strict=True))]
    predictions = [segmented_by_pipeline(model, processor, image) for image in images]
    generator = np.random.default_rng(0)
    annotations = [
        np.where(generator.random(ids.shape) < 0.5, ids, generator.integers(0, 4, ids.shape)) for ids in predictions
    ]
    for annotation in annotations:
        annotation[0, 0] = 255
    everything = [np.concatenate([ids.ravel() for ids in maps]) for maps in (predictions, annotations)]
    predicted, true = (ids[everything[1] != 255] for ids in everything)
    expected = {}
    for index, name in model.config.id2label.items():
        union = ((predicted == index) | (true == index)).sum()
        expected[f"iou/{name}"] = ((predicted == index) & (true == index)).sum() / union if union else math.nan
    expected["mean_iou"] = np.nanmean(list(expected.values()))
    pictures = [Image.fromarray(annotation.astype(np.uint8)) for annotation in annotations]
    expected["overall_accuracy"] = (predicted == true).mean()
    recalls = [(predicted[true == index] == index).mean() for index in np.unique(true)]
    expected["mean_accuracy"] = np.mean(recalls)
    metrics = evaluate_model(model.train(), processor, Dataset.from_dict({"image": images, "annotation": pictures}))
    assert metrics == pytest.approx(expected, nan_ok=True)
    assert 0 < metrics["mean_iou"] < 1


@pytest.mark.parametrize("column", ["label", "annotation"])
def test_model_is_left_as_it_was(family, column):
    """In its mode, even where a part of it is frozen in eval mode."""
    kind = {"label": family.classifier_class, "annotation": family.segmentor_class}[column]
    model = kind(family.config()).train()
    model.base_model.eval()
    modes = [module.training for module in model.modules()]
    assert len(set(modes)) == 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    truth = {"label": [1, 2], "annotation": [Image.new("L", (40, 40), index) for index in range(2)]}[column]
    dataset = Dataset.from_dict({"image": [noise(40, 40), noise(40, 40, seed=1)], column: truth})
    processor = image_processor_for(model, 40)
    metrics = evaluate_model(model, processor, dataset)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert evaluate_model(model, processor, dataset) == pytest.approx(metrics, nan_ok=True)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("column", ["label", "annotation"])
def test_half_precision(family, column, tmp_path):
    kind = {"label": family.classifier_class, "annotation": family.segmentor_class}[column]
    kind(family.config()).save_pretrained(tmp_path)
    model = kind.from_pretrained(tmp_path, dtype=torch.bfloat16)
    truth = {"label": [1], "annotation": [Image.new("L", (40, 40), 1)]}[column]
    dataset = Dataset.from_dict({"image": [noise(40, 40)], column: truth})
    first = next(iter(evaluate_model(model, image_processor_for(model, 40), dataset).values()))
    assert 0 <= first <= 1


def test_settings_are_those_of_the_segmentation(family):
    """A flipped second pass changes what a random model predicts."""
    model = family.segmentor_class(family.config()).eval()
    ids = np.random.default_rng(0).integers(0, 4, (40, 40), dtype=np.uint8)
    dataset = Dataset.from_dict({"image": [noise(40, 40)], "annotation": [Image.fromarray(ids)]})
    processor = image_processor_for(model, 40)
    plain_figures, flipped, default = (
        evaluate_model(model, processor, dataset, settings=settings)["overall_accuracy"]
        for settings in (None, SegmentationSettings(flip=True), SegmentationSettings())
    )
    assert plain_figures == default != flipped


# --- from all kinds of datasets


def rows_of(dataset):
    yield from dataset


def as_stream(dataset):
    return dataset.to_iterable_dataset(num_shards=min(2, len(dataset)))


def as_unknown_stream(dataset):
    """A stream of decoded pictures that doesn't know its columns."""
    return IterableDataset.from_generator(rows_of, gen_kwargs={"dataset": dataset})


def as_undecoded(dataset):
    for column, feature in dataset.features.items():
        if isinstance(feature, ImageFeature):
            dataset = dataset.cast_column(column, ImageFeature(decode=False))
    return dataset


def as_transformed(dataset):
    """Pictures that are made when they are asked for."""
    return dataset.with_transform(lambda batch: dict(batch))


KINDS = [as_stream, as_unknown_stream, as_undecoded, as_transformed]


def some_segmentation(count=5):
    """Sample i has 2^i pixels, all right or all wrong: any other choice of samples has another accuracy."""
    return segmentation_dataset(*[([[1] * 2**index], [[index % 2] * 2**index]) for index in range(count)])


def some_classification(count=5):
    columns = {"image": [red(np.full((4, 4), 1))] * count, "label": [int(index % 3 == 0) for index in range(count)]}
    return Dataset.from_dict(columns)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_dataset(kind):
    segmentation = some_segmentation().add_column("name", list("abcde"))
    assert evaluate_segmentation(kind(segmentation))["overall_accuracy"] == pytest.approx((2 + 8) / 31)
    assert evaluate_classification(kind(some_classification()), batch_size=2) == {"accuracy": pytest.approx(2 / 5)}


def test_photos_are_turned_upright(tmp_path):
    """As datasets does it, so that they fit their annotations."""
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    red([[0, 1, 2], [3, 2, 1]]).save(tmp_path / "photo.png", exif=turned)
    Image.fromarray(np.array([[3, 0], [2, 1], [1, 2]], np.uint8)).save(tmp_path / "mask.png")
    columns = {"image": [str(tmp_path / "photo.png")], "annotation": [str(tmp_path / "mask.png")]}
    features = Features({"image": ImageFeature(), "annotation": ImageFeature()})
    assert evaluate_segmentation(Dataset.from_dict(columns, features=features))["overall_accuracy"] == 1


# --- in batches, by workers


def test_pictures_of_one_size_are_seen_together():
    sizes = [(2, 3), (3, 2), (2, 3), (3, 2), (2, 3), (2, 3)]
    generator = np.random.default_rng(0)
    pairs = [generator.integers(0, 4, (2, *size)) for size in sizes]
    figures = []
    for batch_size, expected in ((1, [1] * 6), (4, [2, 2, 2]), (None, [4, 2])):
        model = ReaderForSemanticSegmentation()
        dataset = segmentation_dataset(*pairs)
        figures.append(evaluate_model(model, plain(SegformerImageProcessor), dataset, batch_size=batch_size))
        assert model.batches == expected
    assert figures[0] == figures[1] == figures[2]  # of all four classes


@pytest.mark.parametrize("kind", [lambda dataset: dataset, as_transformed, as_undecoded, as_stream])
def test_workers_change_nothing(kind):
    for dataset, evaluate in (
        (some_segmentation(), evaluate_segmentation),
        (some_classification(), evaluate_classification),
    ):
        plainly, by_workers = (evaluate(kind(dataset), batch_size=2, num_workers=number) for number in (0, 2))
        assert plainly == pytest.approx(by_workers, nan_ok=True)


def test_what_workers_can_not_read_is_said_or_left_out(broken, tmp_path):
    right, wrong = constant(0, tmp_path / "right.png"), constant(1, tmp_path / "wrong.png")
    dataset = classification_files(right, broken["cut"], wrong, right, broken["text"])
    options = {"batch_size": 1, "num_workers": 2}
    metrics = evaluate_classification(dataset, skip_corrupt=True, **options)
    assert metrics == {"accuracy": pytest.approx(2 / 3), "num_corrupt": 2}
    with pytest.raises(UnreadablePictureError, match=r"^Can't read the image .*cut.png \(row 1\): [^\n]*$"):
        evaluate_classification(dataset, **options)


# --- several processes


class Processes:
    """Accelerators of `count` processes, which are threads here."""

    def __init__(self, count):
        self.count = count
        self.board = [None] * count
        self.barrier = threading.Barrier(count, timeout=60)

    def accelerator(self, rank):
        return SimpleNamespace(
            num_processes=self.count,
            process_index=rank,
            is_main_process=rank == 0,
            device=torch.device("cpu"),
            unwrap_model=lambda model: model.module,
            reduce=lambda tensor, reduction: self.reduce(rank, tensor, reduction),
        )

    def reduce(self, rank, tensor, reduction):
        assert reduction == "sum"
        self.board[rank] = tensor
        self.barrier.wait()
        total = torch.stack(self.board).sum(0)
        self.barrier.wait()
        return total

    def run(self, function):
        """What `function` gives for the accelerator of each process."""
        results = [None] * self.count

        def process(rank):
            results[rank] = function(self.accelerator(rank))

        threads = [threading.Thread(target=process, args=[rank]) for rank in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results


class Wrapped(nn.Module):
    """As DistributedDataParallel wraps."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def evaluate_in_processes(count, model, processor, dataset, **options):
    """Figures, which must be the same in all processes, and how many pictures the models have seen."""

    # processes share nothing; streams have a position that threads would share
    own = [copy.deepcopy((Wrapped(model), dataset)) for _ in range(count)]

    def evaluate(accelerator):
        wrapped, data = own[accelerator.process_index]
        return evaluate_model(wrapped, processor, data, accelerator=accelerator, **options)

    first, *others = Processes(count).run(evaluate)
    assert first is not None
    assert all(figures == pytest.approx(first, nan_ok=True) for figures in others)
    return first, sum(wrapped.module.num_seen for wrapped, _ in own)


@pytest.mark.parametrize("kind", [lambda dataset: dataset, as_stream], ids=["dataset", "stream"])
@pytest.mark.parametrize("length", [1, 5, 6])
@pytest.mark.parametrize("processes", [2, 3])
def test_every_sample_counts_once(processes, length, kind):
    """Whether the number of processes divides the length or not, and with more processes than samples."""
    model, processor = ReaderForSemanticSegmentation(), plain(SegformerImageProcessor)
    figures, num_seen = evaluate_in_processes(processes, model, processor, kind(some_segmentation(length)))
    assert num_seen == length
    right = sum(2**index for index in range(1, length, 2))
    assert figures["overall_accuracy"] == pytest.approx(right / (2**length - 1))
    model, processor = ReaderForImageClassification(), plain(ViTImageProcessor)
    dataset = kind(some_classification(length))
    figures, num_seen = evaluate_in_processes(processes, model, processor, dataset, batch_size=2)
    assert num_seen == length
    assert figures == {"accuracy": pytest.approx(math.ceil(length / 3) / length)}


def test_only_the_main_process_shows_progress(capfd):
    model, processor = ReaderForImageClassification(), plain(ViTImageProcessor)
    evaluate_in_processes(3, model, processor, some_classification(9))
    output = capfd.readouterr().err
    assert "3/3" in output and output.count("0/3") == 1


def test_sharded_weights_are_refused():
    """Rather than to wait forever for a process that has no more pictures."""
    model = ReaderForSemanticSegmentation()
    model.weight = torch.nn.Parameter(torch.empty(0))  # what DeepSpeed's stage 3 leaves
    with pytest.raises(ValueError, match="weights are shared out among processes"):
        accelerator = Processes(2).accelerator(0)
        wrapped = SimpleNamespace(module=model)
        evaluate_model(wrapped, plain(SegformerImageProcessor), some_segmentation(), accelerator=accelerator)


PROGRAM = """
import json, sys
import numpy as np, torch
from accelerate import Accelerator
from datasets import Dataset
from PIL import Image
from families import FAMILIES
from hf_gpvit.data import image_processor_for
from hf_gpvit.training import evaluate_model

accelerator = Accelerator()
expected_processes = int(sys.argv[1])
assert accelerator.num_processes == expected_processes
results = []
for kind, column in (("classifier_class", "label"), ("segmentor_class", "annotation")):
    for length in (1, 5, 6):
        torch.manual_seed(0)
        generator = np.random.default_rng(length)
        pixels = generator.integers(0, 256, (length, 40, 40, 3), dtype=np.uint8)
        ids = generator.integers(0, 4, (length, 40, 40), dtype=np.uint8)
        truth = ids[:, 0, 0].tolist() if column == "label" else [Image.fromarray(part) for part in ids]
        dataset = Dataset.from_dict({"image": [Image.fromarray(part) for part in pixels], column: truth})
        model = getattr(FAMILIES[0], kind)(FAMILIES[0].config()).train()
        processor = image_processor_for(model, 40)
        wrapped = accelerator.prepare(model)
        for data in (dataset, dataset.to_iterable_dataset()):
            results.append(evaluate_model(wrapped, processor, data, accelerator=accelerator, batch_size=2))
            assert wrapped.training
            accelerator.wait_for_everyone()
if accelerator.is_main_process:
    print(json.dumps(results))
accelerator.end_training()
"""


@pytest.mark.slow
def test_two_real_processes(tmp_path):
    """Figures are those of one process."""
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join(folder for folder in sys.path if folder)
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    outputs = []
    for count in (1, 2):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        command += [str(tmp_path / "program.py"), str(count)]
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert answer.returncode == 0, answer.stderr
        outputs.append(answer.stdout.strip().splitlines()[-1])
    assert "mean_iou" in outputs[0]
    assert outputs[0] == outputs[1]


# --- what is refused, or left out


@pytest.fixture
def broken(tmp_path):
    """Paths of pictures: a good one, one that is cut off, one that is no picture."""
    red(np.random.default_rng(0).integers(0, 4, (40, 40))).save(tmp_path / "good.png")
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.png").write_bytes(b"no picture")
    return {path.stem: str(path) for path in tmp_path.iterdir()}


def classification_files(*files, labels=None):
    features = Features({"image": ImageFeature(), "label": Value("int64")})
    return Dataset.from_dict({"image": files, "label": labels or [0] * len(files)}, features=features)


@pytest.mark.parametrize("kind", [lambda dataset: dataset, as_stream], ids=["dataset", "stream"])
@pytest.mark.parametrize("name", ["cut", "text"])
def test_a_picture_that_cannot_be_read(broken, name, kind):
    dataset = classification_files(broken["good"], broken[name], broken["good"])
    with pytest.raises(ValueError, match=rf"Can't read the image .*{name}.png \(row 1\): "):
        evaluate_classification(kind(dataset))


def constant(value, path):
    red(np.full((4, 4), value)).save(path)
    return str(path)


def test_pictures_that_cannot_be_read_are_left_out(broken, tmp_path):
    right, wrong = constant(0, tmp_path / "right.png"), constant(1, tmp_path / "wrong.png")
    dataset = classification_files(right, broken["cut"], wrong, right, broken["text"])
    metrics = evaluate_classification(dataset, skip_corrupt=True, batch_size=2)
    assert metrics == {"accuracy": pytest.approx(2 / 3), "num_corrupt": 2}
    assert list(metrics)[0] == "accuracy"
    model, processor = ReaderForImageClassification(), plain(ViTImageProcessor)
    assert evaluate_in_processes(2, model, processor, dataset, skip_corrupt=True) == (metrics, 3)
    whole = classification_files(right, wrong)
    assert evaluate_classification(whole, skip_corrupt=True) == {"accuracy": 0.5, "num_corrupt": 0}


def test_nothing_to_evaluate_on(broken):
    with pytest.raises(ValueError, match=r"no samples to evaluate on \(2 corrupt ones were left out\)"):
        evaluate_classification(classification_files(broken["cut"], broken["text"]), skip_corrupt=True)
    with pytest.raises(ValueError, match=r"no samples to evaluate on \(0 corrupt"):
        evaluate_segmentation(some_segmentation().select([]))


@pytest.mark.parametrize("label", [4, -1, None])
def test_a_label_that_is_no_class(broken, label):
    dataset = classification_files(*[broken["good"]] * 3, labels=[0, 1, label])
    with pytest.raises(ValueError, match=rf"image .*good.png \(row 2\) has the label {label}; num_labels is 4"):
        evaluate_classification(dataset)


@pytest.mark.parametrize(
    ("task", "evaluate", "settings"),
    [
        ("label", evaluate_classification, {}),
        ("annotation", evaluate_segmentation, {}),
        ("annotation", evaluate_segmentation, {"settings": SegmentationSettings(window_size=4)}),
    ],
)
def test_numbers_that_are_not_finite_are_refused(task, evaluate, settings, monkeypatch):
    """The picture is named, and what of the model it is, rather than a figure reported as if it meant something."""
    see = Reader.scores

    def scores(self, pixel_values):
        return torch.where(pixel_values[:, :1] == 3, math.nan, see(self, pixel_values))

    monkeypatch.setattr(Reader, "scores", scores)
    columns = {"image": [red(np.full((8, 8), value)) for value in (0, 1, 3, 2)]}
    targets = {"label": range(4), "annotation": [Image.fromarray(np.zeros((8, 8), np.uint8))] * 4}
    dataset = Dataset.from_dict(columns | {task: targets[task]})
    with pytest.raises(
        ValueError, match=r"The image .*\(?row 2.* logits are not finite: all weights are, but not what"
    ):
        evaluate(dataset, **settings)


def test_arguments_that_are_refused():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        evaluate_classification(some_classification(), batch_size=0)
    with pytest.raises(ValueError, match="settings must be None for a ReaderForImageClassification, got Segm"):
        evaluate_classification(some_classification(), settings=SegmentationSettings())
    with pytest.raises(ValueError, match="has no column label, but image, annotation"):
        evaluate_classification(some_segmentation())
    with pytest.raises(ValueError, match="has no column annotation, but image, label"):
        evaluate_segmentation(some_classification())
