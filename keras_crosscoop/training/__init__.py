"""Training: the optimizer, its schedule, and the training of runs."""

from typing import Any

from keras_crosscoop.training.optimizer import SGD
from keras_crosscoop.training.schedule import Polynomial

__all__ = ["SGD", "Polynomial", "fit", "resume"]


def __getattr__(name: str) -> Any:
    """Imports `fit` and `resume` on first use: they need TensorFlow, and the optimizer does not."""
    if name not in ("fit", "resume"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_crosscoop.training import trainer

    return getattr(trainer, name)
