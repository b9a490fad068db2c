"""Averaged weights, in the place of the trained ones for as long as they are measured or kept."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from keras_crosscoop.models import Segmenter
from keras_crosscoop.training.state import replicas


@contextmanager
def ema_weights(model: Segmenter) -> Iterator[None]:
    """Inside, the model has the averages that its optimizer keeps, if any; then its own values, to the bit.

    Of weights, and of the statistics of batch normalisation, which belong to them.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of the one that scales losses
    if not getattr(optimizer, "ema_weights", None):
        yield
        return
    # Each device's own: statistics may differ between them, where each normalises by its images alone.
    copies = _copies([*model.trainable_variables, *optimizer.statistics])
    averages = _copies([*optimizer.ema_weights, *optimizer.ema_statistics])
    own = [copy.numpy() for copy in copies]
    try:
        for copy, average in zip(copies, averages, strict=True):
            copy.assign(average)
        yield
    finally:
        for copy, value in zip(copies, own, strict=True):
            copy.assign(value)


def _copies(variables: Iterable[keras.Variable]) -> list[tf.Variable]:
    return [copy for variable in variables for copy in replicas(variable)]
