# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Samples: the same whoever makes them, and what becomes of files that can't be used."""

import io
import pickle

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import ExifTags, Image
from torch.utils.data import DataLoader
from transformers import SegformerImageProcessor, ViTImageProcessor

from hf_gpvit.data import samples as samples_module
from hf_gpvit.data.samples import StreamedSamples, TrainingSamples
from hf_gpvit.data.transforms import ClassificationTransform, SegmentationTransform
from hf_gpvit.tasks.image_classification import LabelReader
from hf_gpvit.tasks.semantic_segmentation import AnnotationReader


NUM_LABELS = 4
PROCESSORS = {"label": ViTImageProcessor(), "annotation": SegformerImageProcessor()}
READERS = {"label": LabelReader(NUM_LABELS), "annotation": AnnotationReader(NUM_LABELS)}
BROKEN = {"bytes": b"no picture", "path": "broken.jpg"}


def encoded(pixels, format="png", **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=format, **options)
    return file.getvalue()


def rows(count, size=(20, 24), paths=True):
    """The mean colour of each picture is another one."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(count):
        path = f"{number}.png" if paths else None
        pixels = generator.integers(0, 100, (*size, 3), dtype=np.uint8) + np.uint8(3 * number)
        ids = generator.integers(0, NUM_LABELS, size, dtype=np.uint8)
        rows.append(
            {
                "image": {"bytes": encoded(pixels), "path": path},
                "label": number % NUM_LABELS,
                "annotation": {"bytes": encoded(ids), "path": path and f"mask-{path}"},
            }
        )
    return rows


def dataset_of(rows, target):
    types = {"image": ImageFeature(), "label": ClassLabel(num_classes=NUM_LABELS), "annotation": ImageFeature()}
    return Dataset.from_list(rows, features=Features(types)).select_columns(["image", target])


def transform_for(target):
    if target == "label":
        return ClassificationTransform(PROCESSORS[target], 16, rand_augment_magnitude=9, random_erasing=0.5)
    return SegmentationTransform(PROCESSORS[target], 16, resize_size=(20, 80))


def samples_of(rows, target, **options):
    return TrainingSamples(dataset_of(rows, target), READERS[target], transform_for(target), **options)


def streamed(rows, target="label", num_shards=4, shuffle=False, **options):
    dataset = dataset_of(rows, target).to_iterable_dataset(num_shards=min(num_shards, len(rows)))
    if shuffle:
        dataset = dataset.shuffle(seed=5, buffer_size=4)
    return StreamedSamples(dataset, READERS[target], transform_for(target), **options)


def same(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(torch.as_tensor(left[name]), torch.as_tensor(right[name])) for name in left
    )


def fingerprints(batches):
    """One for each sample, in their order."""
    return [values.numpy().tobytes() for batch in batches for values in batch["pixel_values"]]


@pytest.fixture(params=["label", "annotation"])
def target(request):
    return request.param


# --- what a sample is


def test_sample(target):
    samples = samples_of(rows(5), target)
    assert len(samples) == 5
    for number, sample in enumerate(samples):
        assert sample.keys() == {"pixel_values", "labels", "num_corrupt"}
        assert sample["pixel_values"].shape == (3, 16, 16) and sample["pixel_values"].dtype == torch.float32
        assert sample["num_corrupt"] == 0
        if target == "label":
            assert sample["labels"] == number % NUM_LABELS
        else:
            assert sample["labels"].shape == (16, 16) and sample["labels"].dtype == torch.int64
            assert sample["labels"].unique().tolist()[:NUM_LABELS] == list(range(NUM_LABELS))
    assert same(samples[-1], samples[4])
    with pytest.raises(IndexError):
        samples[5]


def test_batches(target):
    [batch] = DataLoader(samples_of(rows(3), target), batch_size=3)
    assert batch["pixel_values"].shape == (3, 3, 16, 16)
    assert batch["labels"].shape == ((3,) if target == "label" else (3, 16, 16))
    assert batch["labels"].dtype == torch.int64
    assert batch["num_corrupt"].tolist() == [0, 0, 0]


class Plain:
    """Gives what it gets, as tensors."""

    def __call__(self, image, ids=None):
        assert image.mode == "RGB"
        values = torch.from_numpy(np.array(image)).movedim(-1, 0).float()
        return values if ids is None else (values, ids)


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "jpg"), ("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png")]
)
@pytest.mark.parametrize("orientation", [None, 3, 6])
def test_decoded_as_datasets_does(tmp_path, mode, suffix, orientation):
    """Upright where the camera says how, and RGB."""
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)).convert(mode)
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"1.{suffix}"
    picture.save(path, exif=exif)
    features = Features({"image": ImageFeature(), "label": ClassLabel(num_classes=2)})
    dataset = Dataset.from_dict({"image": [str(path)], "label": [1]}, features=features)
    expected = np.array(dataset[0]["image"].convert("RGB"))
    assert expected.shape == ((9, 5, 3) if orientation == 6 else (5, 9, 3))
    values = TrainingSamples(dataset, LabelReader(2), Plain())[0]["pixel_values"]
    np.testing.assert_array_equal(values.movedim(0, -1), expected)


# --- a function of seed, epoch and index


def test_augmentation_depends_on_seed_epoch_and_index(target):
    same_pictures = rows(1) * 3
    samples = samples_of(same_pictures, target, seed=1)
    first = samples[0]
    assert same(samples[0], first)
    assert not same(samples[1], first)
    samples.set_epoch(1)
    assert not same(samples[0], first)
    samples.set_epoch(0)
    assert same(samples[0], first)
    assert same(samples_of(same_pictures, target, seed=1)[0], first)
    assert not same(samples_of(same_pictures, target, seed=2)[0], first)


def test_neither_order_nor_surroundings_matter(target):
    samples = samples_of(rows(6), target)
    expected = [samples[index] for index in range(6)]
    for index in (4, 0, 5, 1):
        torch.manual_seed(index)
        torch.rand(7)
        assert same(samples[index], expected[index])


def test_random_state_is_left_alone(target):
    samples = samples_of(rows(2), target)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    samples[0], samples[1]
    assert torch.equal(torch.rand(4), expected)


def test_random_state_survives_errors():
    def fail(image):
        torch.rand(1)
        raise RuntimeError("failed")

    samples = TrainingSamples(dataset_of(rows(1), "label"), READERS["label"], fail)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with pytest.raises(RuntimeError, match="failed"):
        samples[0]
    assert torch.equal(torch.rand(4), expected)


def test_same_with_any_number_of_workers():
    samples = samples_of(rows(7), "annotation")
    expected = []
    for epoch in range(2):
        samples.set_epoch(epoch)
        expected.append(fingerprints(DataLoader(samples, batch_size=2)))
    assert expected[0] != expected[1]
    # persistent workers must hear of the next epoch
    loader = DataLoader(samples, batch_size=2, num_workers=2, persistent_workers=True)
    for epoch in (0, 1, 0):
        samples.set_epoch(epoch)
        assert fingerprints(loader) == expected[epoch]


def test_samples_travel_to_other_processes(target):
    """Where workers are spawned, they are pickled."""
    samples = samples_of(rows(2), target, seed=4)
    samples.set_epoch(3)
    assert same(pickle.loads(pickle.dumps(samples))[1], samples[1])


# --- what can't be used


@pytest.mark.parametrize("paths", [True, False])
def test_corrupt_pictures_are_named(target, paths):
    broken = rows(3, paths=paths)
    broken[1]["image"]["bytes"] = broken[1]["image"]["bytes"][:100]
    samples = samples_of(broken, target)
    samples[0], samples[2]
    name = r"image 1\.png \(row 1\)" if paths else "image in row 1"
    with pytest.raises(ValueError, match=f"Can't read the {name}: "):
        samples[1]


def test_corrupt_annotations_are_named():
    broken = rows(2)
    broken[1]["annotation"]["bytes"] = b"no picture"
    with pytest.raises(ValueError, match=r"Can't read the annotation mask-1\.png \(row 1\)"):
        samples_of(broken, "annotation")[1]


def test_missing_files_are_named(tmp_path):
    lost = rows(1)
    lost[0]["image"] = {"bytes": None, "path": str(tmp_path / "lost.png")}
    with pytest.raises(ValueError, match=r"Can't read the image .*lost\.png"):
        samples_of(lost, "label")[0]


def test_next_readable_sample_stands_in(target):
    broken = rows(6)
    for number in (1, 2, 5):
        broken[number]["image"] = None if number == 2 else BROKEN
    samples = samples_of(broken, target, skip_corrupt=True)
    batch = next(iter(DataLoader(samples, batch_size=6)))
    assert batch["pixel_values"].shape[0] == 6
    assert batch["num_corrupt"].tolist() == [0, 1, 1, 0, 0, 1]
    plain = TrainingSamples(dataset_of(broken, target), READERS[target], Plain(), skip_corrupt=True)
    for number, other in ((1, 3), (2, 3), (5, 0)):
        assert torch.equal(plain[number]["pixel_values"], plain[other]["pixel_values"])


def test_stand_in_is_augmented_in_its_own_way(target):
    """Not the same tensors twice in an epoch."""
    broken = rows(2)
    broken[0]["image"] = BROKEN
    samples = samples_of(broken, target, skip_corrupt=True)
    assert not torch.equal(samples[0]["pixel_values"], samples[1]["pixel_values"])


def test_nothing_readable():
    broken = [row | {"image": BROKEN} for row in rows(3)]
    with pytest.raises(ValueError, match="None of the 3 samples can be read"):
        samples_of(broken, "label", skip_corrupt=True)[1]


def mask(ids, mode="L"):
    picture = Image.fromarray(np.asarray(ids, np.uint8 if mode != "I;16" else np.uint16))
    file = io.BytesIO()
    picture.convert(mode).save(file, format="png") if mode == "RGB" else picture.save(file, format="png")
    return {"bytes": file.getvalue(), "path": "mask.png"}


@pytest.mark.parametrize("skip_corrupt", [False, True])
@pytest.mark.parametrize("kind", ["map", "stream"])
@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (mask(np.full((20, 24), 4)), r"annotation mask\.png .*class ids \[4\], but num_labels is 4: expected 0 to 3"),
        (mask(np.full((20, 24), 254)), r"class ids \[254\]"),
        (mask(np.full((20, 24), 700), "I;16"), r"class ids \[700\]"),
        (mask(np.zeros((24, 20))), r"mask\.png .*20x24 pixels, but its image has 24x20"),
        (mask(np.zeros((20, 24)), "RGB"), r"mask\.png .*mode RGB; expected class ids in one channel"),
        (None, r"image 0\.png .*has no annotation"),
    ],
)
def test_wrong_annotations_are_never_skipped(annotation, message, skip_corrupt, kind):
    wrong = rows(2)
    wrong[0]["annotation"] = annotation
    make = samples_of if kind == "map" else streamed
    with pytest.raises(ValueError, match=message):
        next(iter(make(wrong, "annotation", skip_corrupt=skip_corrupt)))


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_ignored_pixels_are_no_class(mode):
    ids = np.array([[0, 3], [255, 255]])
    ignoring = rows(1, size=(2, 2))
    ignoring[0]["annotation"] = mask(ids, mode)
    labels = TrainingSamples(dataset_of(ignoring, "annotation"), READERS["annotation"], Plain())[0]["labels"]
    assert labels.tolist() == ids.tolist() and labels.dtype == torch.int64


def test_reduced_annotations():
    """Ids in the file go up to the number of classes."""
    transform = SegmentationTransform(
        SegformerImageProcessor(do_reduce_labels=True), 4, (4, 16), (1, 1), photometric_distortion=False, flip=0
    )
    reduced = rows(1, size=(4, 4))
    ids = np.array([[0, 1, 4, 255]] * 4)
    reduced[0]["annotation"] = mask(ids)
    reader = AnnotationReader(NUM_LABELS, reduce_labels=True)
    samples = TrainingSamples(dataset_of(reduced, "annotation"), reader, transform)
    assert samples[0]["labels"].tolist() == [[255, 0, 3, 255]] * 4
    reduced[0]["annotation"] = mask(ids + (ids == 4))
    with pytest.raises(ValueError, match=r"class ids \[5\], but num_labels is 4: expected 0 to 4"):
        TrainingSamples(dataset_of(reduced, "annotation"), reader, transform)[0]


@pytest.mark.parametrize("label", [-1, None, 3])
def test_wrong_labels(label):
    features = Features({"image": ImageFeature(), "label": ClassLabel(num_classes=NUM_LABELS)})
    dataset = Dataset.from_list([{"image": rows(1)[0]["image"], "label": label}], features=features)
    with pytest.raises(ValueError, match=rf"image 0\.png .*label {label}; num_labels is 3"):
        TrainingSamples(dataset, LabelReader(3), transform_for("label"))[0]


@pytest.mark.parametrize("samples", [TrainingSamples, StreamedSamples])
def test_missing_columns(samples):
    dataset = dataset_of(rows(1), "label").rename_column("label", "fine_label")
    with pytest.raises(ValueError, match="no column label, but image, fine_label"):
        samples(dataset, READERS["label"], transform_for("label"))


# --- streams


def test_stream(target):
    samples = list(streamed(rows(5), target))
    assert len(samples) == 5
    for sample in samples:
        assert sample["pixel_values"].shape == (3, 16, 16) and sample["num_corrupt"] == 0
    if target == "label":
        assert sorted(sample["labels"] for sample in samples) == sorted(number % NUM_LABELS for number in range(5))


def parts(num_processes, num_workers, num_shards, epoch=0, **options):
    found = []
    for index in range(num_processes):
        samples = streamed(
            rows(12), num_shards=num_shards, process_index=index, num_processes=num_processes, **options
        )
        samples.set_epoch(epoch)
        found.append(fingerprints(DataLoader(samples, batch_size=2, num_workers=num_workers)))
    return found


@pytest.mark.parametrize(("num_processes", "num_workers", "num_shards"), [(1, 2, 4), (2, 2, 4), (2, 2, 3), (3, 0, 4)])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_sample_once(num_processes, num_workers, num_shards, epoch):
    """And the same tensors, whoever reads them."""
    [expected] = parts(1, 0, num_shards=4, epoch=epoch)
    found = parts(num_processes, num_workers, num_shards, epoch, shuffle=True)
    assert all(found)
    assert len(set(expected)) == 12
    assert sorted(sum(found, [])) == sorted(expected)


def test_streamed_augmentation_depends_on_seed_epoch_and_picture(target):
    pictures = rows(3)
    samples = streamed(pictures, target, seed=1)
    first, *_ = expected = list(samples)
    assert all(same(*pair) for pair in zip(samples, expected, strict=True))
    samples.set_epoch(1)
    assert not same(next(iter(samples)), first)
    assert not same(next(iter(streamed(pictures, target, seed=2))), first)
    assert same(list(streamed(pictures[::-1], target, seed=1))[-1], first)


def test_streams_have_other_orders_in_other_epochs():
    samples = streamed(rows(12))
    orders = []
    for epoch in (0, 1, 0):
        samples.set_epoch(epoch)
        orders.append([sample["labels"] for sample in samples])
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("block_size", [1, 3, 1000])
def test_streams_resume(num_processes, block_size, monkeypatch):
    monkeypatch.setattr(samples_module, "BLOCK_SIZE", block_size)
    options = {"process_index": num_processes - 1, "num_processes": num_processes, "num_shards": 3}
    samples = streamed(rows(11), **options)
    samples.set_epoch(1)
    expected = list(samples)
    for done in range(1, len(expected)):
        iterator = iter(samples)
        for _ in range(done):
            next(iterator)
        state = pickle.loads(pickle.dumps(samples.state_dict()))
        resumed = streamed(rows(11), **options)
        resumed.set_epoch(1)
        resumed.load_state_dict(state)
        rest = list(resumed)
        assert len(rest) == len(expected) - done
        assert all(same(*pair) for pair in zip(rest, expected[done:], strict=True))
        resumed.set_epoch(2)
        assert len(list(resumed)) == len(expected)


def test_corrupt_pictures_of_streams(monkeypatch):
    monkeypatch.setattr(samples_module, "BLOCK_SIZE", 1)  # in the stored order
    broken = rows(6)
    for number in (1, 2, 4):
        broken[number]["image"] = BROKEN
    with pytest.raises(ValueError, match=r"Can't read the image broken\.jpg \(row 1 of this worker's part\)"):
        list(streamed(broken))
    samples = list(streamed(broken, skip_corrupt=True))
    assert [sample["labels"] for sample in samples] == [0, 3, 1]
    assert [sample["num_corrupt"] for sample in samples] == [0, 2, 1]


def test_nothing_readable_in_a_stream():
    broken = [row | {"image": BROKEN} for row in rows(3)]
    with pytest.raises(ValueError, match="None of the 3 samples of this worker's part"):
        list(streamed(broken, skip_corrupt=True))


def test_resuming_where_only_corrupt_ones_are_left():
    broken = rows(3)
    broken[2]["image"] = BROKEN
    samples = streamed(broken, skip_corrupt=True, num_shards=1)
    iterator = iter(samples)
    next(iterator), next(iterator)
    state = samples.state_dict()
    resumed = streamed(broken, skip_corrupt=True, num_shards=1)
    resumed.load_state_dict(state)
    assert list(resumed) == []
