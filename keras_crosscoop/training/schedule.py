"""How the learning rate falls during training."""

from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError


@keras.saving.register_keras_serializable("keras_crosscoop")
class Polynomial(keras.optimizers.schedules.LearningRateSchedule):
    """The polynomial decay of DeepLab, to zero, with a linear warm-up on top of it.

        rate(step) = learning_rate (1 - step / steps)^power min(1, (step + 1) / warmup),    step = 0, 1, ...

    The warm-up multiplies a decay that runs from the first step on, as in detectron2's DeepLab (`WarmupPolyLR`) and
    in pytorch-deeplab-xception; mmsegmentation begins to decay after it. Neither starts as here: the first step
    already moves, by 1 / `warmup` of the rate.

    Args:
        learning_rate: before any decay.
        steps: of the whole training. From there on, the rate is zero.
        power: of what is left of the training; 0.9 in the public implementations.
        warmup: steps until the rate is the full one; 0 for none.

    Raises:
        InputError: there are no steps, or a negative number to warm up.
    """

    def __init__(self, learning_rate: float, steps: int, power: float = 0.9, warmup: int = 0) -> None:
        if steps < 1 or warmup < 0:
            raise InputError(
                "A schedule takes one step or more, and 0 or more to warm up. "
                f"Received: steps={steps!r}, warmup={warmup!r}."
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.power = power
        self.warmup = warmup

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        """The learning rate at a step, float32 of the step's shape."""
        left = ops.cast(ops.maximum(self.steps - step, 0), "float32")  # in integers: no digits are lost at the end
        rate = self.learning_rate * (left / self.steps) ** self.power
        if self.warmup:
            rate = rate * ops.minimum((ops.cast(step, "float32") + 1) / self.warmup, 1)
        return rate

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "power": self.power,
            "warmup": self.warmup,
        }
