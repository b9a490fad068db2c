"""All that a training is at one moment: what it goes on from."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_crosscoop.models import Segmenter


@dataclass(frozen=True)
class State:
    """A training between two steps.

    Attributes:
        epoch: how many are done, validation included.
        step: how many of the next epoch's are done.
        steps: how many are done in all, also those that the optimizer left out for infinite gradients.
        variables: the values of `variables`.
        callbacks: what they remember, see `CallbackStates`.
    """

    epoch: int
    step: int
    steps: int
    variables: dict[str, np.ndarray]
    callbacks: dict[str, Any]


def variables(model: Segmenter) -> dict[str, keras.Variable]:
    """All that steps change, by number and path: weights, random states, the optimizer's, and `sums`."""
    unique = {id(each): each for each in (*model.variables, *model.optimizer.variables, *_of_figures(model))}
    return {f"{number:05} {_lasting(each.path)}": each for number, each in enumerate(unique.values())}


def sums(model: Segmenter) -> dict[str, keras.Variable]:
    """Those of `variables` that an epoch's losses come from."""
    of_figures = set(map(id, _of_figures(model)))
    return {name: variable for name, variable in variables(model).items() if id(variable) in of_figures}


def _lasting(path: str) -> str:
    # Keras numbers the random states of layers through the process, whatever networks it built before.
    return re.sub(r"\b(seed_generator)_\d+/", r"\1/", path)


def _of_figures(model: Segmenter) -> list[keras.Variable]:
    return [variable for figure in model.metrics for variable in figure.variables]


def values(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """What variables hold, on this process's first replica."""
    return {name: replicas(variable)[0].numpy() for name, variable in variables.items()}


def assign(variables: Mapping[str, keras.Variable], values: Mapping[str, np.ndarray]) -> None:
    """Gives variables these values, on every replica."""
    for name, variable in variables.items():
        for replica in replicas(variable):
            replica.assign(values[name])


def replicas(variable: keras.Variable) -> tuple:
    """The TensorFlow variables of this process's devices behind a variable of Keras's, one for each of them."""
    # One by one: read or set through the strategy, sums of several replicas are summed again, or shared out.
    return tf.distribute.get_strategy().experimental_local_results(variable.value)
