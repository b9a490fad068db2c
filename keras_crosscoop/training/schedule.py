"""The learning-rate schedules."""

import math
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError


class DecayToZero(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that decays to zero, with an optional linear warm-up: the base of all schedules.

        rate(step) = learning_rate decay(1 - step / steps) min(1, (step + 1) / warmup_steps),    step = 0, 1, ...

    The decay begins at the first step, and the warm-up is a factor, as in detectron2's DeepLab (`WarmupPolyLR`), timm
    and pytorch-deeplab-xception. In mmsegmentation and Keras, the decay begins after the warm-up. Unlike in all these,
    the warm-up begins at 1 / `warmup_steps` of the rate, so that the first step already changes the weights.

    Args:
        learning_rate: The initial rate.
        steps: The total number of steps, after which the rate is zero.
        warmup_steps: The number of warm-up steps; 0 for none.

    Raises:
        InputError: `steps` is less than 1, or `warmup_steps` is negative.
    """

    def __init__(self, learning_rate: float, steps: int, warmup_steps: int = 0) -> None:
        if steps < 1 or warmup_steps < 0:
            raise InputError(
                "A schedule needs `steps` of 1 or more and `warmup_steps` of 0 or more. "
                f"Received: steps={steps!r}, warmup_steps={warmup_steps!r}."
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.warmup_steps = warmup_steps

    def decay(self, left: KerasTensor) -> KerasTensor:
        """Returns the factor of the rate, from 1 to 0, for the share of steps that are left, from 1 to 0."""
        raise NotImplementedError

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        """Returns the learning rate at a step, float32 of the step's shape."""
        left = ops.cast(ops.maximum(self.steps - step, 0), "float32")  # subtracting integers keeps all digits
        rate = self.learning_rate * self.decay(left / self.steps)
        if self.warmup_steps:
            rate = rate * ops.minimum((ops.cast(step, "float32") + 1) / self.warmup_steps, 1)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {"learning_rate": self.learning_rate, "steps": self.steps, "warmup_steps": self.warmup_steps}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Polynomial(DecayToZero):
    """Polynomial decay to zero, as in DeepLab, with an optional linear warm-up, see `DecayToZero`.

        rate(step) = learning_rate (1 - step / steps)^power min(1, (step + 1) / warmup_steps),    step = 0, 1, ...

    Args:
        learning_rate: The initial rate.
        steps: The total number of steps, after which the rate is zero.
        power: The exponent; 0.9 in the public implementations.
        warmup_steps: The number of warm-up steps; 0 for none.

    Raises:
        InputError: `steps` is less than 1, or `warmup_steps` is negative.

    Example:
        >>> from keras_crosscoop.training import Polynomial
        >>> schedule = Polynomial(0.1, steps=4, power=1)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [0.1, 0.075, 0.05, 0.025, 0.0]

    Reference:
        Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, section 4.1.
    """

    def __init__(self, learning_rate: float, steps: int, power: float = 0.9, warmup_steps: int = 0) -> None:
        super().__init__(learning_rate, steps, warmup_steps)
        self.power = power

    def decay(self, left: KerasTensor) -> KerasTensor:
        """Returns `left` to the power."""
        return left**self.power

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"power": self.power}


@keras.saving.register_keras_serializable("keras_crosscoop")
class Cosine(DecayToZero):
    """Cosine decay to zero, without restarts, with an optional linear warm-up, see `DecayToZero`.

        rate(step) = learning_rate (1 + cos(pi step / steps)) / 2 min(1, (step + 1) / warmup_steps),    step = 0, 1, ...

    `keras.optimizers.schedules.CosineDecay` begins its decay after the warm-up; the rest is the same.

    Args:
        learning_rate: The initial rate.
        steps: The total number of steps, after which the rate is zero.
        warmup_steps: The number of warm-up steps; 0 for none.

    Raises:
        InputError: `steps` is less than 1, or `warmup_steps` is negative.

    Example:
        >>> from keras_crosscoop.training import Cosine
        >>> schedule = Cosine(0.1, steps=4)
        >>> [round(float(schedule(step)), 3) for step in range(5)]
        [0.1, 0.085, 0.05, 0.015, 0.0]

    Reference:
        Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017, equation 5.
    """

    def decay(self, left: KerasTensor) -> KerasTensor:
        """Returns `(1 - cos(pi left)) / 2` as a squared sine, which keeps all digits near zero."""
        return ops.sin(math.pi / 2 * left) ** 2
