"""What `compile` and `fit` are given: the loss of outputs and its weights, and Keras's metrics of outputs."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError, unknown_name
from keras_crosscoop.labels import IGNORE_LABEL
from keras_crosscoop.losses import Averaged, CrossEntropy, SegmentationLoss


class ExtraMetric(NamedTuple):
    """A metric of Keras's, of one output, beside the built-in ones."""

    output: str
    metric: keras.metrics.Metric

    @property
    def name(self) -> str:
        """That it is reported by."""
        return f"{self.output}_{self.metric.name}"


def loss_of_an_output(given: Any) -> keras.losses.Loss:
    """The loss of every output: what `compile` was given, or cross-entropy.

    Raises:
        InputError: it is a name, a function, or one for each output; see `Averaged`.
    """
    if given is None:
        return CrossEntropy()
    return given if isinstance(given, SegmentationLoss) else Averaged(given)


def check_parts(given: Any) -> None:
    """Refuses what cannot be the number of parts of a batch.

    Raises:
        InputError: it is no whole number, or less than 1.
    """
    if not isinstance(given, int | np.integer) or given < 1:
        raise InputError(f"`accumulation_steps` is a whole number, 1 or more. Received: {given!r}")


def loss_weights(given: Any, sides: Sequence[str]) -> dict[str, float]:
    """How much the loss of each side counts, 1 where nothing is given.

    Raises:
        InputError: a side does not exist, a weight is negative or infinite, or all are 0.
    """
    if not isinstance(given, Mapping | None):
        example = f'{{"{sides[0]}": 1.0}}'
        raise InputError(f"`loss_weights` are given by output, such as {example}. Received: {given!r}")
    weights = {**dict.fromkeys(sides, 1.0), **(given or {})}
    if strange := weights.keys() - set(sides):
        raise unknown_name("output", min(strange), sides)
    numbers = [weight for weight in weights.values() if isinstance(weight, int | float | np.number)]
    if len(numbers) < len(weights) or not all(0 <= weight < math.inf for weight in numbers) or not any(numbers):
        raise InputError(
            f"`loss_weights` must be finite, 0 or more, and one of them more, or nothing is learnt. Received: {weights}"
        )
    return weights


def extra_metrics(given: Any, outputs: Sequence[str]) -> tuple[ExtraMetric, ...]:
    """The metrics that `compile` was given.

    Args:
        given: metrics or lists of them, by output; of a model with one output also a list; None for none.
        outputs: of the model.

    Raises:
        InputError: an output does not exist, a metric is none of Keras's, or two are reported by one name.
    """
    if isinstance(given, list | tuple) and len(outputs) == 1:
        given = {outputs[0]: given}
    if not isinstance(given, Mapping | None):
        raise _no_metric(given, outputs)
    found = [ExtraMetric(*each) for key, of_key in (given or {}).items() for each in _pairs(key, of_key)]
    for output, metric in found:
        if output not in outputs:
            raise unknown_name("output", output, outputs)
        if not isinstance(metric, keras.metrics.Metric):
            raise _no_metric(metric, outputs)
    names = [extra.name for extra in found]
    built_in = {f"{output}_{figure}" for output in outputs for figure in ("loss", "mean_iou", "pixel_accuracy")}
    if twice := [name for name in names if name in built_in or names.count(name) > 1]:
        raise InputError(f"Every metric needs a name of its own: give it a `name`. Received: {twice[0]!r} twice")
    return tuple(found)


def update_metrics(
    metrics: Sequence[ExtraMetric], labels: KerasTensor, predictions: Callable[[str], KerasTensor]
) -> None:
    """Counts a batch.

    Args:
        metrics: of any outputs.
        labels: int32 `(B, H, W)`. Void pixels have the class 0 and the weight 0 in what metrics are given.
        predictions: of an output, `(B, H, W, C)`.
    """
    valid = ops.not_equal(labels, IGNORE_LABEL)
    for output, metric in metrics:
        weights = ops.cast(valid, metric.dtype)  # integers for counts
        metric.update_state(ops.where(valid, labels, 0), predictions(output), weights)


def refuse_class_weight(method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Checks the arguments of a method of `keras.Model`, which would take label maps for one-hot classes.

    Raises:
        InputError: there is a `class_weight`.
    """
    given = inspect.signature(method).bind(*args, **kwargs).arguments.get("class_weight")
    if given is not None:
        raise InputError(
            "Classes are weighed by the loss: `compile(loss=losses.CrossEntropy(class_weights=[...]))`. "
            f"Received: class_weight={given!r}"
        )


def _pairs(output: str, metrics: Any) -> list[tuple[str, Any]]:
    return [(output, metric) for metric in (metrics if isinstance(metrics, list | tuple) else [metrics])]


def _no_metric(value: Any, outputs: Sequence[str]) -> InputError:
    example = f'{{"{outputs[-1]}": [keras.metrics.SparseCategoricalAccuracy()]}}'
    return InputError(f"`metrics` are Keras's metrics by output, such as {example}. Received: {value!r}")
