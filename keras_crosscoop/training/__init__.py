"""Training: the optimizer, what happens at an epoch's end, and the run as a whole."""

from typing import Any

from keras_crosscoop.training.optimizer import SGD

__all__ = ["SGD", "fit"]


def __getattr__(name: str) -> Any:
    """`fit`, when it is first asked for: it reads data by TensorFlow, which the optimizer does without."""
    if name != "fit":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from keras_crosscoop.training.fitting import fit

    return fit
