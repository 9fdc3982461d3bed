# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Tests of the image processors: sizes, values against torchvision, label reduction, saving."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from transformers import (
    AutoImageProcessor,
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DPTImageProcessor,
    SegformerImageProcessor,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from hf_gpvit import GPViTDetectionConfig, GPViTDetectionImageProcessor, GPViTForObjectDetection
from hf_gpvit.data import image_processor_for, load_label_set
from hf_gpvit.data.image_processors import check_image_processor


# The shorter side that a crop of 224 pixels is cut from.
RESIZED_SIDE = {"gpvit": 256, "hrvit": 248}
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def noise(height, width):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixel_values(processor, image):
    return processor(image, return_tensors="pt").pixel_values


def classification_by_hand(image, resized_side):
    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(resized_side, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return transform(image)


@pytest.mark.parametrize("kind", ["classifier_class", "model_class"])
@pytest.mark.parametrize("size", [(300, 400), (433, 301), (100, 91)])
def test_classification_resizes_and_crops_as_torchvision(family, kind, size):
    processor = image_processor_for(getattr(family, kind)(family.config(image_size=224)))
    image = noise(*size)
    values = pixel_values(processor, image)
    assert values.shape == (1, 3, 224, 224)
    one_grey_level = 1 / 255 / min(IMAGENET_STD)
    expected = classification_by_hand(image, RESIZED_SIDE[family.name])
    torch.testing.assert_close(values[0], expected, rtol=0, atol=1.01 * one_grey_level)


@pytest.mark.parametrize("size", [(50, 200), (200, 50)])
def test_classification_fills_rectangular_crops(family, size):
    processor = image_processor_for(family.classifier_class(family.config(image_size=(64, 96))))
    values = pixel_values(processor, Image.new("RGB", (size[1], size[0]), "white"))
    assert values.shape == (1, 3, 64, 96)
    assert torch.equal(values, values[..., :1, :1].expand_as(values))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        # One pixel of freedom for rounding, which the class may do either way.
        ((360, 480), (512, 683)),
        ((480, 360), (683, 512)),
        ((512, 512), (512, 512)),
        ((1000, 100), (2048, 205)),
        ((100, 1000), (205, 2048)),
    ],
)
def test_segmentation_fits_image_keeping_its_ratio(family, size, expected):
    processor = image_processor_for(family.segmentor_class(family.config()))
    height, width = pixel_values(processor, noise(*size)).shape[-2:]
    assert abs(height - expected[0]) <= 1
    assert abs(width - expected[1]) <= 1
    assert min(height, width) == min(expected)
    assert max(height, width) <= 2048


def test_segmentation_normalises_by_imagenet(family):
    processor = image_processor_for(family.segmentor_class(family.config()))
    values = pixel_values(processor, Image.new("RGB", (512, 512), (255, 128, 0)))
    expected = (torch.tensor([1.0, 128 / 255, 0.0]) - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(values[0, :, 100, 100], expected, rtol=0, atol=1e-5)


def labels_of(processor):
    ids = np.repeat(np.array([[0, 1, 150, 255]], dtype=np.uint8), 128, axis=1).repeat(512, axis=0)
    labels = processor(noise(512, 512), segmentation_maps=Image.fromarray(ids), return_tensors="pt").labels
    assert labels.dtype == torch.int64
    assert labels.shape == (1, 512, 512)
    return labels[0, 0, ::128].tolist()


def test_ade20k_labels_are_reduced(family):
    processor = image_processor_for(family.segmentor_class(ade20k_config(family)))
    assert processor.do_reduce_labels
    assert labels_of(processor) == [255, 0, 149, 255]


@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
def test_other_labels_stay(family, name):
    label_set = load_label_set(name)
    config = family.config(num_labels=len(label_set), id2label=label_set.id2label)
    processor = image_processor_for(family.segmentor_class(config))
    assert not processor.do_reduce_labels
    assert labels_of(processor) == [0, 1, 150, 255]


def test_150_classes_with_other_names_stay(family):
    assert not image_processor_for(family.segmentor_class(family.config(num_labels=150))).do_reduce_labels


def ade20k_config(family):
    return family.config(num_labels=150, id2label=load_label_set("ade20k").id2label)


@pytest.mark.parametrize("kind", ["classifier_class", "segmentor_class"])
def test_processor_survives_saving(family, kind, tmp_path):
    processor = image_processor_for(getattr(family, kind)(ade20k_config(family)))
    processor.save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is type(processor)
    assert loaded.to_dict() == processor.to_dict()
    image = noise(70, 90)
    assert torch.equal(pixel_values(loaded, image), pixel_values(processor, image))


def test_reloaded_model_keeps_label_reduction(family, tmp_path):
    """The label map of a saved config has been through JSON."""
    family.segmentor_class(ade20k_config(family)).save_pretrained(tmp_path)
    assert image_processor_for(family.segmentor_class.from_pretrained(tmp_path)).do_reduce_labels


@pytest.mark.parametrize("num_channels", [1, 2, 4])
@pytest.mark.parametrize("kind", ["model_class", "backbone_class", "classifier_class", "segmentor_class"])
def test_other_channels_than_rgb_are_refused(family, kind, num_channels):
    model = getattr(family, kind)(family.config(num_channels=num_channels))
    with pytest.raises(ValueError, match=f"num_channels must be 3 where pictures are read.*, got {num_channels}"):
        image_processor_for(model)


@pytest.mark.parametrize("image_size", [4000, (100, 20000)])
def test_sizes_that_take_gigabytes_are_refused(family, image_size):
    with pytest.raises(ValueError, match="size must"):
        image_processor_for(family.classifier_class(family.config()), image_size)
    with pytest.raises(ValueError, match="size must be of at most 8388608 pixels, got .*'shortest_edge': 2048"):
        image_processor_for(family.segmentor_class(family.config()), 2048)


@pytest.mark.parametrize(
    "usual",
    [
        ViTImageProcessor(),
        SegformerImageProcessor(size={"shortest_edge": 1024, "longest_edge": 4096}),
        SegformerImageProcessor(size={"height": 2048, "width": 4096}, do_pad=True, pad_size={"height": 9, "width": 9}),
        ConvNextImageProcessor(),
        CLIPImageProcessor(),
        DPTImageProcessor(),
        ViTImageProcessor(do_rescale=False, image_mean=[0.0] * 3, image_std=[255.0] * 3),
    ],
    ids=lambda processor: type(processor).__name__,
)
def test_usual_image_processors_are_fine(usual):
    check_image_processor(usual)


def test_models_of_other_families_are_refused():
    model = ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    with pytest.raises(ValueError, match="type in .*'gpvit'.*got 'vit'"):
        image_processor_for(model)


@pytest.mark.parametrize(
    ("size", "expected"), [((60, 80), (96, 128)), ((200, 100), (192, 96)), ((10, 300), (13, 384))]
)
def test_segmentation_at_another_size(family, size, expected):
    """The shorter side becomes `image_size`, but the longer one at most four times that."""
    processor = image_processor_for(family.segmentor_class(family.config()), 96)
    height, width = pixel_values(processor, noise(*size)).shape[-2:]
    assert (height, width) == pytest.approx(expected, abs=1)
    assert max(height, width) <= 4 * 96


def test_detectors_see_pictures_of_the_official_size():
    model = GPViTForObjectDetection(GPViTDetectionConfig.from_preset("gpvit-nano"))
    processor = image_processor_for(model)
    assert isinstance(processor, GPViTDetectionImageProcessor)
    assert (processor.size["shortest_edge"], processor.size["longest_edge"], processor.size_divisor) == (800, 1333, 32)
    processor = image_processor_for(model, 96)
    picture = Image.new("RGB", (200, 100))
    assert processor(picture, return_tensors="pt")["pixel_values"].shape == (1, 3, 96, 160)  # of 80x159
    model.config.num_channels = 4
    with pytest.raises(ValueError, match="num_channels must be 3"):
        image_processor_for(model)
