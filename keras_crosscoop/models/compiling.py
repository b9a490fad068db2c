"""Checks of the arguments of `Segmenter.compile` and `fit`: loss, loss weights, metrics and class weights."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.losses import Averaged, CrossEntropy, SegmentationLoss

ExtraMetrics = dict[str, tuple[str, keras.metrics.Metric]]  # name in results -> output, Keras metric


def resolve_loss(loss: Any) -> SegmentationLoss:
    """Returns the loss of an output; cross-entropy for None.

    Raises:
        InputError: It is a name, a function or a mapping instead of a loss; see `Averaged`.
    """
    if loss is None:
        return CrossEntropy()
    return loss if isinstance(loss, SegmentationLoss) else Averaged(loss)


def resolve_loss_weights(loss_weights: Any, sides: Sequence[str]) -> dict[str, float]:
    """Returns the weight of each side's loss, 1 by default.

    Raises:
        InputError: A side does not exist, a weight is negative or infinite, or all are 0.
    """
    if not isinstance(loss_weights, Mapping | None):
        example = f'{{"{sides[0]}": 1.0}}'
        raise InputError(f"`loss_weights` must be a mapping by output, such as {example}. Received: {loss_weights!r}")
    weights = {**dict.fromkeys(sides, 1.0), **(loss_weights or {})}
    if unknown := weights.keys() - set(sides):
        raise unknown_name("output", min(unknown), sides)
    valid = all(isinstance(weight, int | float | np.number) and 0 <= weight < math.inf for weight in weights.values())
    if not valid or not any(weights.values()):
        raise InputError(f"`loss_weights` must be finite, 0 or more, and not all 0. Received: {weights}")
    return weights


def resolve_metrics(metrics: Any, outputs: Sequence[str]) -> ExtraMetrics:
    """Returns the metrics that `compile` was given by output; for a model with one output, also in a list.

    Raises:
        InputError: An output does not exist, a metric is not a Keras metric, or two metrics have the same name.
    """
    if isinstance(metrics, list | tuple) and len(outputs) == 1:
        metrics = {outputs[0]: metrics}
    if not isinstance(metrics, Mapping | None):
        raise _no_metric(metrics, outputs)
    extra = [
        (output, metric)
        for output, values in (metrics or {}).items()
        for metric in (values if isinstance(values, list | tuple) else [values])
    ]
    for output, metric in extra:
        if output not in outputs:
            raise unknown_name("output", output, outputs)
        if not isinstance(metric, keras.metrics.Metric):
            raise _no_metric(metric, outputs)
    built_in = [f"{output}_{name}" for output in outputs for name in ("loss", "mean_iou", "pixel_accuracy")]
    names = [f"{output}_{metric.name}" for output, metric in extra]
    if duplicates := [name for name in names if [*built_in, *names].count(name) > 1]:
        raise InputError(f"Every metric needs a `name` of its own. Received: {duplicates[0]!r} twice")
    return dict(zip(names, extra, strict=True))


def serialize(metrics: ExtraMetrics) -> dict[str, list] | None:
    """Returns the configurations of metrics by output, as `compile` takes them."""
    by_output: dict[str, list] = {}
    for output, metric in metrics.values():
        by_output.setdefault(output, []).append(keras.saving.serialize_keras_object(metric))
    return by_output or None


def update_metrics(metrics: ExtraMetrics, labels: KerasTensor, predictions: Callable[[str], KerasTensor]) -> None:
    """Adds a batch of checked labels, int32 `(B, H, W)`, and of each output's predictions, `(B, H, W, C)`.

    Metrics get class 0 and weight 0 for void pixels.
    """
    valid = ops.not_equal(labels, IGNORE_LABEL)
    for output, metric in metrics.values():
        weights = ops.cast(valid, metric.dtype)  # integers, for metrics that count
        metric.update_state(ops.where(valid, labels, 0), predictions(output), weights)


def refuse_class_weight(method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Refuses `class_weight`, with which the methods of `keras.Model` would mistake label maps for one-hot classes.

    Raises:
        InputError: `class_weight` is given.
    """
    class_weight = inspect.signature(method).bind(*args, **kwargs).arguments.get("class_weight")
    if class_weight is not None:
        raise InputError(
            "Classes are weighted by the loss: `compile(loss=losses.CrossEntropy(class_weights=[...]))`. "
            f"Received: {class_weight=}"
        )


def _no_metric(value: Any, outputs: Sequence[str]) -> InputError:
    example = f'{{"{outputs[-1]}": [keras.metrics.SparseCategoricalAccuracy()]}}'
    return InputError(f"`metrics` must be Keras metrics by output, such as {example}. Received: {value!r}")
