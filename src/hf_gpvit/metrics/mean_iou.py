# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""mIoU, mAcc, aAcc and the IoU of each class as a metric of `evaluate`."""

import datasets
import evaluate

from .confusion_matrix import ConfusionMatrix
from .streaming import StreamingMetric


_DESCRIPTION = """\
Intersection over union and accuracies of semantic segmentation. Intersections and unions are summed over all pixels of
all maps before they are divided, as the benchmarks (ADE20K, Cityscapes, Pascal VOC) do.
"""
_CITATION = """\
@article{everingham2010pascal,
  title = {The Pascal Visual Object Classes ({VOC}) Challenge},
  author = {Everingham, Mark and Van Gool, Luc and Williams, Christopher K. I. and Winn, John and Zisserman, Andrew},
  journal = {International Journal of Computer Vision},
  volume = {88},
  pages = {303--338},
  year = {2010},
}
"""
_INPUTS = """
Args:
    predictions: Maps of class ids: one (N, H, W) integer array or tensor, or N maps (H, W) of different sizes.
    references: True ids of the same shapes, `ignore_index` where nothing counts.
Returns:
    Floats in [0, 1]: mean_iou, mean_accuracy (mean recall of the classes), overall_accuracy (part of the pixels that
    are right), and iou/<class> for each class. What is 0 / 0 is NaN and left out of means.
"""


class MeanIoU(StreamingMetric, ConfusionMatrix):
    """mIoU, mAcc, aAcc and the IoU of each class.

    ```python
    metric = MeanIoU(id2label=model.config.id2label)
    for batch in batches:
        metric.add_batch(predictions=predicted_maps, references=true_maps)
    metric.compute()  # {"mean_iou": ..., "mean_accuracy": ..., "overall_accuracy": ..., "iou/<class>": ...}
    ```

    It keeps a confusion matrix rather than the maps, so that memory doesn't grow with the data and nothing is written
    to disk. Where several processes see a part of the data each, sum their matrices before computing, with
    `metric.state = accelerator.reduce(metric.state.to(accelerator.device), "sum")` or `metric.merge(other)`.

    For `Trainer` with `batch_eval_metrics=True`:

    ```python
    def predicted_ids(logits, labels):  # preprocess_logits_for_metrics: ids are num_labels times smaller than logits
        return F.interpolate(logits, labels.shape[-2:], mode="bilinear").argmax(1)

    def compute_metrics(batch, compute_result):
        metric.add_batch(predictions=batch.predictions, references=batch.label_ids)
        return metric.compute() if compute_result else {}
    ```

    Args:
        num_labels: Number of classes C. Default: as many as `id2label` has.
        ignore_index: Id in `references` of pixels that don't count. If it is the id of a class, that class has no IoU.
            Default 255, or -100 where 255 is a class.
        id2label: Names of the classes by id, for the keys of the result. Default: the ids themselves.
        config_name, kwargs: As for any `evaluate.Metric`, but `num_process` must be 1.

    Raises:
        ValueError: `num_process` is not 1, `num_labels` is less than 1, or `id2label` has an id that is no class.
    """

    def __init__(
        self,
        config_name: str | None = None,
        *,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        id2label: dict[int, str] | None = None,
        **kwargs,
    ):
        StreamingMetric.__init__(self, config_name, **kwargs)
        ConfusionMatrix.__init__(self, num_labels, ignore_index, id2label)

    def _info(self) -> evaluate.MetricInfo:
        maps = datasets.Sequence(datasets.Sequence(datasets.Value("int64")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": maps, "references": maps}),
        )

    def compute(
        self,
        *,
        predictions=None,
        references=None,
        num_labels: int | None = None,
        ignore_index: int | None = None,
        id2label: dict[int, str] | None = None,
    ) -> dict[str, float]:
        """The figures of what was counted, after which the count starts anew.

        Args:
            predictions, references: A last batch to count, or all there is. Default: none.
            num_labels, ignore_index, id2label: As for the constructor, from now on. Default: as they are.

        Raises:
            ValueError: As `add_batch`; or only one of predictions and references is given; or `num_labels` or
                `ignore_index` change after something was counted.
        """
        self.configure(num_labels, ignore_index, id2label)
        return super().compute(predictions=predictions, references=references)
