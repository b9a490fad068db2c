"""The learning-rate schedule."""

from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError


@keras.saving.register_keras_serializable("keras_crosscoop")
class Polynomial(keras.optimizers.schedules.LearningRateSchedule):
    """Polynomial decay to zero, as in DeepLab, with an optional linear warm-up.

        rate(step) = learning_rate (1 - step / steps)^power min(1, (step + 1) / warmup_steps),    step = 0, 1, ...

    The decay begins at the first step, and the warm-up is a factor, as in detectron2's DeepLab (`WarmupPolyLR`) and
    pytorch-deeplab-xception. In mmsegmentation, the decay begins after the warm-up. Unlike in these, the warm-up begins
    at 1 / `warmup_steps` of the rate, so that the first step already changes the weights.

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
        if steps < 1 or warmup_steps < 0:
            raise InputError(
                "A schedule needs `steps` of 1 or more and `warmup_steps` of 0 or more. "
                f"Received: steps={steps!r}, warmup_steps={warmup_steps!r}."
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.power = power
        self.warmup_steps = warmup_steps

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        """Returns the learning rate at a step, float32 of the step's shape."""
        left = ops.cast(ops.maximum(self.steps - step, 0), "float32")  # subtracting integers keeps all digits
        rate = self.learning_rate * (left / self.steps) ** self.power
        if self.warmup_steps:
            rate = rate * ops.minimum((ops.cast(step, "float32") + 1) / self.warmup_steps, 1)
        return rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "power": self.power,
            "warmup_steps": self.warmup_steps,
        }
