"""Averaged weights, in the place of the trained ones for as long as they are measured or kept."""

from collections.abc import Iterator
from contextlib import contextmanager

from keras_crosscoop.models import Segmenter
from keras_crosscoop.training.state import assign, values


@contextmanager
def averaged(model: Segmenter) -> Iterator[None]:
    """Inside, the model has the averages that its optimizer keeps, if any; then its own weights, to the bit."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # of the one that scales losses
    averages = dict(enumerate(getattr(optimizer, "averages", None) or ()))
    if not averages:
        yield
        return
    weights = dict(enumerate(model.trainable_variables))
    own = values(weights)
    try:
        assign(weights, values(averages))
        yield
    finally:
        assign(weights, own)
