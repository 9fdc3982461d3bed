# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""What the training transforms give: crops that masks follow, preprocessed as evaluation and pipelines do."""

import colorsys

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import ExifTags, Image
from torchvision import tv_tensors
from transformers import SegformerImageProcessor, ViTImageProcessor, pipeline

from hf_gpvit.data import image_processor_for, load_label_set
from hf_gpvit.data.masks import annotation_ids, reduces_labels
from hf_gpvit.data.samples import TrainingSamples
from hf_gpvit.data.transforms import (
    ClassificationTransform,
    RandomCategoryCrop,
    RandomRatioResize,
    RandomSaturation,
    SegmentationTransform,
    mixup_cutmix,
    photometric_distortion_transform,
)
from hf_gpvit.tasks.semantic_segmentation import AnnotationReader
from hf_gpvit.training import evaluate_model


MASK_MODES = ("L", "P", "I;16", "I")
COLORS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)], np.uint8)
IDS = (0, 7, 30, 255)


def noise(width, height, mode="RGB", seed=0):
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def annotation(ids, mode):
    picture = Image.fromarray(np.asarray(ids).astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)))
    if mode == "P":
        # colours that are not the ids
        picture.putpalette([255 - index // 3 for index in range(768)])
    assert picture.mode == mode
    return picture


def colored(width, height, mode, seed=1):
    """Blocks of four classes: a picture whose colours say the class, and its annotation."""
    blocks = np.random.default_rng(seed).integers(0, len(IDS), (-(-height // 16), -(-width // 16)))
    classes = blocks.repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    return Image.fromarray(COLORS[classes]), annotation(np.array(IDS)[classes], mode)


def denormalised(processor, pixel_values):
    mean, std = torch.tensor([processor.image_mean, processor.image_std])[..., None, None]
    return pixel_values * std + mean


@pytest.mark.parametrize("mode", MASK_MODES)
def test_annotation_ids(mode):
    largest = 65535 if mode.startswith("I") else 255
    values = np.array([[0, 1, 2], [254, 255, largest]])
    ids = annotation_ids(annotation(values, mode))
    assert ids.dtype == torch.int64
    assert ids.tolist() == values.tolist()


@pytest.mark.parametrize("mode", MASK_MODES)
def test_reduced_annotation_ids(mode):
    """As ADE20K has them: 0 is no class, and 255 stays ignored; as the image processor makes of its maps."""
    values = np.array([[0, 1, 2], [150, 254, 255]])
    ids = annotation_ids(annotation(values, mode), reduce_labels=True)
    assert ids.tolist() == [[255, 0, 1], [149, 253, 255]]
    if mode == "L":
        processor = SegformerImageProcessor(do_reduce_labels=True, do_resize=False)
        maps = processor(noise(3, 2), segmentation_maps=annotation(values, mode), return_tensors="pt").labels
        assert torch.equal(maps[0].squeeze(0), ids)


def test_reduction_is_what_the_image_processor_says(family):
    config = family.config(num_labels=150, id2label=load_label_set("ade20k").id2label)
    ade20k = image_processor_for(family.segmentor_class(config), 32)
    for processor, expected in ((ade20k, True), (image_processor_for(family.segmentor_class(family.config())), False)):
        assert reduces_labels(processor) is SegmentationTransform(processor, 16).reduce_labels is expected
    assert not reduces_labels(image_processor_for(family.classifier_class(family.config())))


# --- training, evaluation and pipelines see the same


def neutral(processor, size):
    return SegmentationTransform(
        processor,
        crop_size=4 * size,
        resize_size=(size, 4 * size),
        scale_range=(1.0, 1.0),
        max_category_ratio=1.0,
        photometric_distortion=False,
        flip=0.0,
    )


PICTURES = [("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("P", "png"), ("CMYK", "jpg")]


def photo(path, mode, size, orientation=6):
    """A file that the camera marked as turned."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    noise(*size, mode).save(path, exif=exif)
    return str(path)


def seen_by_pipeline(task, model, processor, path):
    """The tensors that the model gets."""
    seen = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"].clone()), with_kwargs=True
    )
    pipeline(task, model=model, image_processor=processor)(path)
    return seen[0][0]


def seen_by_evaluation(model, processor, dataset):
    seen = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["pixel_values"].clone()), with_kwargs=True
    )
    evaluate_model(model, processor, dataset)
    hook.remove()
    return seen[0][0]


@pytest.mark.parametrize(("mode", "suffix"), PICTURES)
def test_segmentors_see_the_same_everywhere(family, tmp_path, mode, suffix):
    """Bit by bit, of a file on the disk: training without augmentation, evaluation, pipeline, image processor."""
    path = photo(tmp_path / f"1.{suffix}", mode, (57, 40))
    model = family.segmentor_class(family.config()).eval()
    processor = image_processor_for(model, 32)
    annotated = Dataset.from_dict({"image": [path], "annotation": [annotation(np.zeros((57, 40)), "L")]})
    annotated = annotated.cast_column("image", ImageFeature())
    image = annotated[0]["image"].convert("RGB")
    assert image.size == (40, 57)
    values, labels = neutral(processor, 32)(image, annotation_ids(annotated[0]["annotation"]))
    expected = processor(image, return_tensors="pt").pixel_values[0]
    height, width = expected.shape[-2:]
    assert torch.equal(values[:, :height, :width], expected)
    assert not values[:, height:].any() and not values[:, :, width:].any()
    assert (labels[:height, :width] == 0).all()
    assert (labels[height:] == 255).all() and (labels[:, width:] == 255).all()
    assert torch.equal(seen_by_evaluation(model, processor, annotated), expected)
    assert torch.equal(seen_by_pipeline("image-segmentation", model, processor, path), expected)
    samples = TrainingSamples(annotated, AnnotationReader(model.config.num_labels), neutral(processor, 32))
    assert torch.equal(samples[0]["pixel_values"], values)


@pytest.mark.parametrize("size", [(480, 360), (50, 400), (400, 50), (33, 32), (1, 9), (1, 1)])
def test_neutral_segmentation_is_the_image_processor(size):
    """Sides that are rounded, too, and the ids of the masks."""
    processor = SegformerImageProcessor(size={"shortest_edge": 64, "longest_edge": 256}, default_to_square=False)
    image = noise(*size)
    ids = np.random.default_rng(0).integers(0, 200, size[::-1])
    expected = processor(image, segmentation_maps=annotation(ids, "L"), return_tensors="pt")
    values, labels = neutral(processor, 64)(image, torch.from_numpy(ids))
    height, width = expected.pixel_values.shape[-2:]
    assert torch.equal(values[:, :height, :width], expected.pixel_values[0])
    assert torch.equal(labels[:height, :width], expected.labels[0].reshape(height, width))


@pytest.mark.parametrize(("mode", "suffix"), PICTURES)
def test_classifiers_see_the_same_everywhere(family, tmp_path, mode, suffix):
    """Bit by bit, of a square picture that no side of is cut off."""
    path = photo(tmp_path / f"1.{suffix}", mode, (57, 57))
    model = family.classifier_class(family.config()).eval()
    processor = image_processor_for(model, 32)
    processor.size = {"shortest_edge": 32}
    labelled = Dataset.from_dict({"image": [path], "label": [0]}).cast_column("image", ImageFeature())
    image = labelled[0]["image"].convert("RGB")
    transform = ClassificationTransform(processor, 32, crop_scale=(1.0, 1.0), flip=0.0)
    expected = processor(image, return_tensors="pt").pixel_values[0]
    assert torch.equal(transform(image), expected)
    assert torch.equal(seen_by_evaluation(model, processor, labelled), expected)
    assert torch.equal(seen_by_pipeline("image-classification", model, processor, path), expected)


# --- classification


CLASSIFIER, SEGMENTOR = ViTImageProcessor(), SegformerImageProcessor()


@pytest.mark.parametrize("options", [{}, {"rand_augment_magnitude": 10, "random_erasing": 1.0}])
@pytest.mark.parametrize(("size", "shape"), [(24, (3, 24, 24)), ((16, 30), (3, 16, 30))])
def test_classification(size, shape, options):
    transform = ClassificationTransform(CLASSIFIER, size, **options)
    for picture in (noise(50, 40), noise(1, 1), noise(3, 90)):
        values = transform(picture)
        assert type(values) is torch.Tensor and values.is_contiguous()
        assert values.shape == shape and values.dtype == torch.float32


def changed_part(seed, **options):
    """Of the pixels, by an augmentation of a picture that is otherwise only resized."""
    picture = noise(32, 32)
    plain = ClassificationTransform(CLASSIFIER, 32, crop_scale=(1.0, 1.0), flip=0.0)(picture)
    torch.manual_seed(seed)
    changed = ClassificationTransform(CLASSIFIER, 32, **{"crop_scale": (1.0, 1.0), "flip": 0.0} | options)(picture)
    return (changed != plain).any(0).float().mean().item()


def test_each_augmentation_of_classification():
    assert changed_part(0) == 0
    assert all(0 < changed_part(seed, random_erasing=1.0) < 0.4 for seed in range(5))
    assert changed_part(0, flip=1.0) > 0.5
    assert changed_part(0, crop_scale=(0.1, 0.2)) > 0.5
    assert 3 < sum(changed_part(seed, rand_augment_magnitude=9) > 0.5 for seed in range(12)) < 12


def test_what_turns_into_the_picture_is_of_the_mean_colour():
    """After normalisation, as if nothing were there; grey stays grey under every operation of this seed."""
    processor = ViTImageProcessor(image_mean=[0.2, 0.4, 0.6])
    transform = ClassificationTransform(processor, 32, (1.0, 1.0), rand_augment_magnitude=10, flip=0.0)
    white = Image.new("RGB", (32, 32), "white")
    corners = [transform(white)[:, [0, 0, -1, -1], [0, -1, 0, -1]] for _ in range(60)]
    assert any((corner.abs().amax(0) < 0.02).any() for corner in corners)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_scale": (0.5, 1.5)}, r"crop_scale must be two .*at most 1\.0, got \(0\.5, 1\.5\)"),
        ({"crop_scale": (0.9, 0.5)}, "crop_scale"),
        ({"flip": 2}, r"flip must be in \[0, 1\], got 2"),
        ({"random_erasing": -0.5}, "random_erasing must be in"),
        ({"rand_augment_magnitude": 11}, "rand_augment_magnitude must be 0 to 10, got 11"),
    ],
)
def test_wrong_options_of_classification(options, message):
    with pytest.raises(ValueError, match=message):
        ClassificationTransform(CLASSIFIER, 24, **options)


# --- segmentation


@pytest.mark.parametrize("size", [(50, 40), (40, 50), (200, 31), (1, 1), (3, 90)])
@pytest.mark.parametrize(("crop_size", "shape"), [(24, (24, 24)), ((16, 30), (16, 30))])
def test_segmentation(size, crop_size, shape):
    transform = SegmentationTransform(SEGMENTOR, crop_size, resize_size=(32, 128))
    for _ in range(5):
        values, labels = transform(noise(*size), torch.from_numpy(np.resize(IDS, size[::-1])))
        assert type(values) is type(labels) is torch.Tensor
        assert values.shape == (3, *shape) and values.dtype == torch.float32
        assert labels.shape == shape and labels.dtype == torch.int64
        assert set(labels.unique().tolist()) <= set(IDS)


def test_segmentation_labels_follow_their_pictures():
    """Under resizing, crop, flip and padding."""
    transform = SegmentationTransform(SEGMENTOR, 64, resize_size=(50, 200), photometric_distortion=False)
    colors = torch.from_numpy(COLORS).float() / 255
    padded = 0
    for seed in range(20):
        picture, mask = colored(90, 70, "L", seed)
        values, labels = transform(picture, annotation_ids(mask))
        distances = (denormalised(SEGMENTOR, values).permute(1, 2, 0)[:, :, None] - colors).abs().amax(-1)
        classes = torch.tensor(IDS)[distances.argmin(-1)]
        pure = distances.amin(-1) < 0.05
        assert (classes == labels)[pure].float().mean() > 0.99
        empty = (values == 0).all(0)
        assert (labels[empty] == 255).all()
        padded += empty.any().item()
    assert 0 < padded < 20


@pytest.mark.parametrize(("width", "height"), [(120, 90), (90, 120), (300, 30)])
def test_ratio_resize(width, height):
    """Into the two limits times the factor, whatever the orientation; picture and mask alike."""
    resize = RandomRatioResize((30, 120), (0.5, 2.0))
    scales = []
    for _ in range(200):
        image, mask = resize(tv_tensors.Image(noise(width, height)), tv_tensors.Mask(torch.zeros(height, width)))
        assert image.shape[-2:] == mask.shape
        scales.append(min(mask.shape) / min(30, 120 * min(width, height) / max(width, height)))
        assert mask.shape[1] / mask.shape[0] == pytest.approx(width / height, rel=0.1)
    assert 0.45 < min(scales) < 0.6 and 1.85 < max(scales) < 2.05
    assert np.mean(scales) == pytest.approx(1.25, abs=0.1)


def cropped(ids, ratio, size=(10, 10), ignore_index=255):
    ids = torch.as_tensor(np.asarray(ids, np.uint8))
    image = tv_tensors.Image(ids.expand(3, *ids.shape).clone())
    image, mask = RandomCategoryCrop(size, ratio, ignore_index)(image, tv_tensors.Mask(ids))
    assert torch.equal(image[0].as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor))
    return mask.as_subclass(torch.Tensor)


def test_crops_avoid_a_single_class():
    """Only few crops show the rare class at all; nearly all of them do after ten attempts."""
    ids = np.zeros((40, 40))
    ids[:, 16:24] = 1
    shares = {ratio: [(cropped(ids, ratio) == 1).float().mean() for _ in range(100)] for ratio in (0.75, 1.0)}
    within = {ratio: sum(0.25 <= share <= 0.75 for share in values) for ratio, values in shares.items()}
    assert within[1.0] < 60 and within[0.75] > 95


def test_ignored_pixels_are_not_a_class_of_the_crop():
    """A crop of one class and ignored pixels is drawn again; one that is mostly ignored is fine."""
    ids = np.full((40, 40), 255)
    ids[:, :20:2], ids[:, 1:20:2] = 0, 1
    ids[:, 30:] = 0
    kept = [cropped(ids, 0.75) for _ in range(100)]
    assert sum({0, 1} <= set(crop.unique().tolist()) for crop in kept) > 95
    assert any(255 in crop for crop in kept)


def test_crops_avoid_what_is_ignored_altogether():
    ids = np.full((40, 40), 255)
    ids[:, :8:2], ids[:, 1:8:2] = 0, 1
    assert sum((cropped(ids, 0.75) == 255).all().item() for _ in range(100)) < 20


@pytest.mark.parametrize("ids", [np.zeros((40, 40)), np.full((40, 40), 255)])
def test_crops_give_up(ids):
    assert cropped(ids, 0.75).shape == (10, 10)


def test_crops_of_small_pictures_and_everywhere():
    assert cropped(np.arange(28).reshape(4, 7), 0.75).tolist() == np.arange(28).reshape(4, 7).tolist()
    assert cropped(np.zeros((30, 7)), 1.0).shape == (10, 7)
    corners = {tuple(cropped(np.arange(16).reshape(4, 4), 1.0, (2, 2))[0].tolist()) for _ in range(300)}
    assert len(corners) == 9


def test_photometric_distortion():
    """Each of four changes half of the time; channels stay in their places."""
    distort = photometric_distortion_transform()
    picture = torch.tensor([120, 60, 30], dtype=torch.uint8)[:, None, None].repeat(1, 8, 8)
    picture[:, 4:] //= 2
    changed = [distort(picture) for _ in range(300)]
    assert all(image.shape == picture.shape and image.dtype == torch.uint8 for image in changed)
    assert 5 <= sum(torch.equal(image, picture) for image in changed) <= 45  # a sixteenth
    assert len({image.numpy().tobytes() for image in changed}) > 200
    means = torch.stack([image.float().mean((1, 2)) for image in changed])
    assert (means.argmax(1) == 0).all() and (means[:, 2] < means[:, 0]).all()
    assert means.std(0).min() > 5


def test_brightness_is_added_and_contrast_multiplies():
    """On grey, which saturation and hue leave alone: a line for each result, whose slope is the contrast."""
    torch.manual_seed(0)
    distort = photometric_distortion_transform()
    grey = torch.tensor([40, 60, 80], dtype=torch.uint8).expand(3, 1, 3)
    results = torch.stack([distort(grey)[0, 0] for _ in range(200)]).float()
    slopes = (results[:, 2] - results[:, 0]) / 40
    shifts = (results[:, 1] / slopes - 60)[slopes > 0.9]
    assert 0.45 < slopes.min() < 0.6 and 1.4 < slopes.max() < 1.55
    assert (slopes == 1).float().mean() == pytest.approx(0.5, abs=0.15)
    assert -36 < shifts.min() < -25 and 25 < shifts.max() < 36


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_saturation_is_that_of_hsv(factor):
    picture = torch.randint(256, (3, 6, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    changed = RandomSaturation((factor, factor))(picture)
    for before, after in zip(picture.flatten(1).T.tolist(), changed.flatten(1).T.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*before)
        assert after == pytest.approx(colorsys.hsv_to_rgb(hue, min(1, factor * saturation), value), abs=0.51)


def test_distortion_by_flag():
    picture, ids = noise(32, 32), torch.zeros(32, 32, dtype=torch.int64)
    fixed = {"resize_size": (32, 128), "scale_range": (1, 1), "flip": 0}
    for distorted in (False, True):
        transform = SegmentationTransform(SEGMENTOR, 32, photometric_distortion=distorted, **fixed)
        assert len({transform(picture, ids)[0].numpy().tobytes() for _ in range(10)}) == 1 or distorted
    assert len({transform(picture, ids)[0].numpy().tobytes() for _ in range(10)}) > 1


@pytest.mark.parametrize("largest", [254, 255, 256, 290, 65535])
def test_ids_stay_what_they_are(largest):
    """Of masks of 16 bits, resized and cropped."""
    ids = np.full((60, 50), largest, np.uint16)
    ids[:30] = 10
    transform = SegmentationTransform(SegformerImageProcessor(), 40, (45, 90), max_category_ratio=1)
    for _ in range(5):
        _, labels = transform(Image.new("RGB", (50, 60)), annotation_ids(Image.fromarray(ids)))
        assert set(labels.unique().tolist()) <= {10, largest, 255}
        assert (labels == 10).any() or (labels == largest).any()


def test_reduction_of_more_classes_than_it_can_count():
    with pytest.raises(ValueError, match="ids of at most 255, got 256"):
        annotation_ids(Image.fromarray(np.full((2, 2), 256, np.uint16)), reduce_labels=True)


def test_segmentation_pads_with_the_ignored_id():
    transform = SegmentationTransform(SEGMENTOR, 32, (16, 64), (1, 1), ignore_index=7)
    _, labels = transform(noise(16, 16), torch.zeros(16, 16, dtype=torch.int64))
    assert (labels[:16, :16] == 0).all()
    assert (labels[16:] == 7).all() and (labels[:, 16:] == 7).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 0}, "crop_size must be two numbers greater than 0"),
        ({"resize_size": (2048, 512)}, r"resize_size must be .*ascending, got \(2048, 512\)"),
        ({"scale_range": (0, 2)}, "scale_range"),
        ({"max_category_ratio": 75}, r"max_category_ratio must be in \[0, 1\], got 75"),
        ({"flip": -1}, "flip must be in"),
    ],
)
def test_wrong_options_of_segmentation(options, message):
    with pytest.raises(ValueError, match=message):
        SegmentationTransform(SEGMENTOR, **{"crop_size": 24} | options)


# --- batches


def test_mixup():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8)
    mixed, labels = mixup_cutmix(images, torch.tensor([0, 1, 2, 3]), 5, mixup_alpha=1.0, cutmix_alpha=0)
    assert labels.shape == (4, 5)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    expected = (labels[:, :4] * torch.arange(4.0)).sum(1)  # the pictures' values are their labels
    torch.testing.assert_close(mixed, expected[:, None, None, None].expand_as(mixed))
    assert not torch.equal(mixed, images)


def test_cutmix():
    torch.manual_seed(1)
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8)
    mixed, labels = mixup_cutmix(images, torch.tensor([0, 1, 2, 3]), 4, mixup_alpha=0, cutmix_alpha=1.0)
    parts = torch.stack([(mixed == value).float().mean((1, 2, 3)) for value in range(4)], dim=1)
    torch.testing.assert_close(parts, labels)
    assert 0 < labels[0, 3] < 1


def test_either_half_of_the_time():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 3, 8, 8)
    mixed = [mixup_cutmix(images, torch.arange(4), 4)[0] for _ in range(200)]
    assert 60 < sum((image == image.round()).all().item() for image in mixed) < 140


@pytest.mark.parametrize("alphas", [(0, 0), (-1, 1)])
def test_wrong_alphas(alphas):
    with pytest.raises(ValueError, match="mixup_alpha and cutmix_alpha must be at least 0.*got"):
        mixup_cutmix(torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), 2, *alphas)
