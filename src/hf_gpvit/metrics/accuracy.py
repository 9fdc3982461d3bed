# Copyright 2026 The hf-gpvit authors
# SPDX-License-Identifier: Apache-2.0
"""Top-1 and top-5 accuracy as a metric of `evaluate`."""

import datasets
import evaluate

from .streaming import StreamingMetric
from .top_k_counts import TopKCounts


_DESCRIPTION = """\
Part of the samples whose true class has the highest score (top-1), or is among the five highest ones (top-5).
"""
_CITATION = """\
@article{russakovsky2015imagenet,
  title = {{ImageNet} Large Scale Visual Recognition Challenge},
  author = {Russakovsky, Olga and Deng, Jia and Su, Hao and Krause, Jonathan and Satheesh, Sanjeev and Ma, Sean and
    Huang, Zhiheng and Karpathy, Andrej and Khosla, Aditya and Bernstein, Michael and Berg, Alexander C. and
    Fei-Fei, Li},
  journal = {International Journal of Computer Vision},
  volume = {115},
  pages = {211--252},
  year = {2015},
}
"""
_INPUTS = """
Args:
    predictions: (N, C) scores of the classes, such as logits or probabilities.
    references: (N,) true class ids.
Returns:
    accuracy and, of five classes or more, top5_accuracy: floats in [0, 1], or NaN if there was no sample.
"""


class TopKAccuracy(StreamingMetric, TopKCounts):
    """Top-1 and top-5 accuracy.

    ```python
    metric = TopKAccuracy(num_labels=1000)
    for batch in batches:
        metric.add_batch(predictions=logits, references=labels)
    metric.compute()  # {"accuracy": ..., "top5_accuracy": ...}
    ```

    It keeps three counters rather than the scores, so that memory doesn't grow with the data and nothing is written to
    disk. Where several processes see a part of the data each, sum their counters before computing, with
    `metric.state = accelerator.reduce(metric.state.to(accelerator.device), "sum")` or `metric.merge(other)`.

    For `Trainer`:

    ```python
    def compute_metrics(prediction):
        return metric.compute(predictions=prediction.predictions, references=prediction.label_ids)
    ```

    or, with `batch_eval_metrics=True`, which doesn't keep the logits of all samples:

    ```python
    def compute_metrics(batch, compute_result):
        metric.add_batch(predictions=batch.predictions, references=batch.label_ids)
        return metric.compute() if compute_result else {}
    ```

    Args:
        num_labels: Number of classes C. Default: the number of scores in the first batch.
        config_name, kwargs: As for any `evaluate.Metric`, but `num_process` must be 1.

    Raises:
        ValueError: `num_process` is not 1, or `num_labels` is less than 1.
    """

    def __init__(self, config_name: str | None = None, *, num_labels: int | None = None, **kwargs):
        StreamingMetric.__init__(self, config_name, **kwargs)
        TopKCounts.__init__(self, num_labels)

    def _info(self) -> evaluate.MetricInfo:
        features = {"predictions": datasets.Sequence(datasets.Value("float32")), "references": datasets.Value("int64")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )
