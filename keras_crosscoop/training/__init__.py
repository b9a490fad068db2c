"""Training: the optimizer, what happens at an epoch's end, and the run as a whole."""

from keras_crosscoop.training.fitting import fit
from keras_crosscoop.training.optimizer import SGD

__all__ = ["SGD", "fit"]
