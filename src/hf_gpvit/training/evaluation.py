# Copyright 2026 The hf-gpvit authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""How good a model is on a labelled dataset."""

from collections.abc import Iterator

import torch
from transformers import BaseImageProcessor, PreTrainedModel
from transformers.utils.logging import tqdm

from ..data.transforms import annotation_ids, reduces_labels
from ..extras import import_extra


classification = import_extra("torchmetrics.classification")
BATCH_SIZE = 32


@torch.inference_mode()
def evaluate_model(model: PreTrainedModel, image_processor: BaseImageProcessor, dataset) -> dict[str, float]:
    """Accuracy of a classifier, or IoU of a segmentor, both in eval mode and as `pipeline` uses them.

    Args:
        model: Model for image classification or semantic segmentation.
        image_processor: The one that belongs to `model`.
        dataset: `datasets.Dataset` with the columns `image` (PIL images of any size and mode), and `label` (class ids)
            or `annotation` (PIL images of class ids, as large as `image`).

    Returns:
        `{"accuracy": ...}`, or `mean_iou` and `iou/<class>` for each class, in [0, 1], with predictions resized to the
        annotations. Classes that are in neither predictions nor annotations are NaN and not part of the mean.
    """
    model.eval()
    if "ForSemanticSegmentation" in type(model).__name__:
        return _mean_iou(model, image_processor, dataset)
    metric = classification.MulticlassAccuracy(model.config.num_labels, average="micro")
    for batch in _batches(dataset.select_columns(["image", "label"]), BATCH_SIZE):
        logits = model(**_inputs(model, image_processor, batch["image"])).logits
        metric.update(logits.cpu(), torch.tensor(batch["label"]))
    return {"accuracy": metric.compute().item()}


def _mean_iou(model: PreTrainedModel, image_processor: BaseImageProcessor, dataset) -> dict[str, float]:
    config = model.config
    metric = classification.MulticlassConfusionMatrix(
        config.num_labels, ignore_index=config.semantic_loss_ignore_index
    )
    # one by one, because the pictures of a dataset may have different sizes
    for batch in _batches(dataset.select_columns(["image", "annotation"]), batch_size=1):
        annotation = annotation_ids(batch["annotation"][0], reduces_labels(image_processor))
        outputs = model(**_inputs(model, image_processor, batch["image"]))
        [prediction] = image_processor.post_process_semantic_segmentation(outputs, [tuple(annotation.shape)])
        metric.update(prediction.cpu(), annotation)
    matrix = metric.compute().double()
    intersection = matrix.diag()
    iou = intersection / (matrix.sum(0) + matrix.sum(1) - intersection)
    per_class = {f"iou/{config.id2label[index]}": value for index, value in enumerate(iou.tolist())}
    return {"mean_iou": iou.nanmean().item()} | per_class


def _batches(dataset, batch_size: int) -> Iterator[dict]:
    total = -(-len(dataset) // batch_size)
    return tqdm(dataset.iter(batch_size), total=total, desc="Evaluating")


def _inputs(model: PreTrainedModel, image_processor: BaseImageProcessor, images: list) -> dict:
    images = [image.convert("RGB") for image in images]
    return image_processor(images, return_tensors="pt").to(model.device, model.dtype)
