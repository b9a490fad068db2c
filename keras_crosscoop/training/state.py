"""The complete state of training between two steps."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop.models import Segmenter


@dataclass(frozen=True)
class TrainingState:
    """The state of training."""

    epoch: int  # complete epochs, including their validation
    step: int  # complete steps of the next epoch
    steps: int  # all complete steps, including steps that the optimizer skipped for infinite gradients
    variables: dict[str, np.ndarray]  # the values of `variables`
    callbacks: dict[str, Any]  # see `CallbackStates`


def variables(model: Segmenter) -> dict[str, keras.Variable]:
    """Returns the variables of the model, the optimizer and the metrics, by number and path."""
    unique = {id(v): v for v in (*model.variables, *model.optimizer.variables, *_metric_variables(model))}
    # Without the numbers of random states, which Keras counts across the whole process.
    path = partial(re.sub, r"\b(seed_generator)_\d+/", r"\1/")
    return {f"{number:05} {path(variable.path)}": variable for number, variable in enumerate(unique.values())}


def metric_variables(model: Segmenter) -> dict[str, keras.Variable]:
    """Returns the part of `variables` that belongs to metrics, such as the losses of the current epoch."""
    ids = set(map(id, _metric_variables(model)))
    return {name: variable for name, variable in variables(model).items() if id(variable) in ids}


def _metric_variables(model: Segmenter) -> list[keras.Variable]:
    return [variable for metric in model.metrics for variable in metric.variables]


def values(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Returns the values of variables on the first replica of this process."""
    return {name: replicas(variable)[0].numpy() for name, variable in variables.items()}


def assign(variables: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray]) -> None:
    """Sets variables to these values, on all replicas."""
    for name, variable in variables.items():
        for replica in replicas(variable):
            replica.assign(values[name])


def replicas(variable: keras.Variable) -> tuple:
    """Returns the TensorFlow variables of a Keras variable, one for each device of this process.

    They are read and set separately, because the strategy would sum or split the sums in metrics again.
    """
    return tf.distribute.get_strategy().experimental_local_results(variable.value)


@contextmanager
def use_ema_weights(model: Segmenter) -> Iterator[None]:
    """Swaps in the averaged weights and batch-normalisation statistics, and restores the model's own on exit.

    Does nothing if the optimizer keeps no averages.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # inside of loss scaling
    if not getattr(optimizer, "ema_weights", None):
        yield
        return
    # Statistics may differ between devices, so each device takes its own averages.
    targets = [v for variable in (*model.trainable_variables, *optimizer.statistics) for v in replicas(variable)]
    averages = [v for variable in (*optimizer.ema_weights, *optimizer.ema_statistics) for v in replicas(variable)]
    own_values = [target.numpy() for target in targets]
    try:
        for target, average in zip(targets, averages, strict=True):
            target.assign(average)
        yield
    finally:
        for target, value in zip(targets, own_values, strict=True):
            target.assign(value)
