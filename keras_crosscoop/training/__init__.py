"""Training: optimizers, learning-rate schedules, and the training of runs."""

from typing import Any

from keras_crosscoop.training.optimizer import SGD, AdamW
from keras_crosscoop.training.schedule import Cosine, Polynomial

__all__ = ["SGD", "AdamW", "Cosine", "Polynomial", "fit", "resume"]


def __getattr__(name: str) -> Any:
    """Imports `fit` and `resume` on first use: they need TensorFlow, and the optimizers do not."""
    if name not in ("fit", "resume"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_crosscoop.training import trainer

    return getattr(trainer, name)
