"""Training: the optimizer, what happens at an epoch's end, and the run as a whole."""

from typing import Any

from keras_crosscoop.training.optimizer import SGD

__all__ = ["SGD", "fit", "resume"]


def __getattr__(name: str) -> Any:
    """`fit` and `resume`, when they are first asked for: they need TensorFlow, which the optimizer does without."""
    if name not in ("fit", "resume"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_crosscoop.training import fitting

    return getattr(fitting, name)
