# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Which models there are; makes them known to the Auto classes and pipelines of transformers."""

from transformers import (
    AutoBackbone,
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    AutoModelForSemanticSegmentation,
    ViTImageProcessor,
)
from transformers.models.auto import modeling_auto

from .ablations.configuration_gpvit_ablation import GPViTAblationConfig
from .ablations.configuration_hrnet_vit import HRNetViTConfig
from .ablations.configuration_hrvit_ablation import HRViTAblationConfig
from .ablations.modeling_gpvit_ablation import (
    GPViTAblationBackbone,
    GPViTAblationForImageClassification,
    GPViTAblationForSemanticSegmentation,
    GPViTAblationModel,
)
from .ablations.modeling_hrnet_vit import (
    HRNetViTBackbone,
    HRNetViTForImageClassification,
    HRNetViTForSemanticSegmentation,
    HRNetViTModel,
)
from .ablations.modeling_hrvit_ablation import (
    HRViTAblationBackbone,
    HRViTAblationForImageClassification,
    HRViTAblationForSemanticSegmentation,
    HRViTAblationModel,
)
from .models.configuration_gpvit import GPViTConfig
from .models.configuration_gpvit_adapter import GPViTAdapterConfig
from .models.configuration_gpvit_detection import GPViTDetectionConfig
from .models.configuration_hrvit import HRViTConfig
from .models.image_processing_gpvit_detection import GPViTDetectionImageProcessor
from .models.modeling_gpvit import (
    GPViTBackbone,
    GPViTForImageClassification,
    GPViTForSemanticSegmentation,
    GPViTModel,
)
from .models.modeling_gpvit_adapter import GPViTAdapterBackbone
from .models.modeling_gpvit_detection import GPViTForInstanceSegmentation, GPViTForObjectDetection
from .models.modeling_hrvit import (
    HRViTBackbone,
    HRViTForImageClassification,
    HRViTForSemanticSegmentation,
    HRViTModel,
)


MODEL_CLASSES = {
    GPViTConfig: {
        AutoModel: GPViTModel,
        AutoBackbone: GPViTBackbone,
        AutoModelForImageClassification: GPViTForImageClassification,
        AutoModelForSemanticSegmentation: GPViTForSemanticSegmentation,
    },
    HRViTConfig: {
        AutoModel: HRViTModel,
        AutoBackbone: HRViTBackbone,
        AutoModelForImageClassification: HRViTForImageClassification,
        AutoModelForSemanticSegmentation: HRViTForSemanticSegmentation,
    },
    GPViTAdapterConfig: {AutoBackbone: GPViTAdapterBackbone},
    GPViTDetectionConfig: {
        AutoModelForObjectDetection: GPViTForObjectDetection,
        AutoModelForInstanceSegmentation: GPViTForInstanceSegmentation,
        AutoModelForImageSegmentation: GPViTForInstanceSegmentation,  # the pipeline of that name looks here
    },
    GPViTAblationConfig: {
        AutoModel: GPViTAblationModel,
        AutoBackbone: GPViTAblationBackbone,
        AutoModelForImageClassification: GPViTAblationForImageClassification,
        AutoModelForSemanticSegmentation: GPViTAblationForSemanticSegmentation,
    },
    HRViTAblationConfig: {
        AutoModel: HRViTAblationModel,
        AutoBackbone: HRViTAblationBackbone,
        AutoModelForImageClassification: HRViTAblationForImageClassification,
        AutoModelForSemanticSegmentation: HRViTAblationForSemanticSegmentation,
    },
    HRNetViTConfig: {
        AutoModel: HRNetViTModel,
        AutoBackbone: HRNetViTBackbone,
        AutoModelForImageClassification: HRNetViTForImageClassification,
        AutoModelForSemanticSegmentation: HRNetViTForSemanticSegmentation,
    },
}

# Whose presets are the papers' own classifiers and segmentors; those of others are what these are compared with.
FAMILIES = (GPViTConfig, HRViTConfig)

# Of those that need another one than transformers' for classifiers.
IMAGE_PROCESSORS = {
    GPViTAdapterConfig: GPViTDetectionImageProcessor,
    GPViTDetectionConfig: GPViTDetectionImageProcessor,
}

# Pipelines look class names up here before they accept a model without an error in the log.
MAPPING_NAMES = {
    AutoModel: modeling_auto.MODEL_MAPPING_NAMES,
    AutoBackbone: modeling_auto.MODEL_FOR_BACKBONE_MAPPING_NAMES,
    AutoModelForImageClassification: modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES,
    AutoModelForSemanticSegmentation: modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES,
    AutoModelForObjectDetection: modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES,
    AutoModelForInstanceSegmentation: modeling_auto.MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES,
    AutoModelForImageSegmentation: modeling_auto.MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES,
}


def register_auto_classes() -> None:
    """Registers every config and model; calling it again changes nothing."""
    for config_class, model_classes in MODEL_CLASSES.items():
        classes = {AutoConfig: config_class} | model_classes
        config_class.remote_classes = {auto_class.__name__: _reference(cls) for auto_class, cls in classes.items()}
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        image_processor_class = IMAGE_PROCESSORS.get(config_class, ViTImageProcessor)
        AutoImageProcessor.register(config_class, fast_image_processor_class=image_processor_class, exist_ok=True)
        for auto_class, model_class in model_classes.items():
            auto_class.register(config_class, model_class, exist_ok=True)
            MAPPING_NAMES[auto_class][config_class.model_type] = model_class.__name__
    for image_processor_class in IMAGE_PROCESSORS.values():
        image_processor_class.register_for_auto_class()  # is saved with its code


def _reference(cls: type) -> str:
    """How `auto_map` in config.json names a class: by its file and its name."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
