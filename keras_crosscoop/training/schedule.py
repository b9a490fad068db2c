"""How the learning rate falls during training."""

from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError


@keras.saving.register_keras_serializable("keras_crosscoop")
class Polynomial(keras.optimizers.schedules.LearningRateSchedule):
    """The polynomial decay of DeepLab, to zero, with a linear warm-up on top of it.

        rate(step) = learning_rate (1 - step / steps)^power min(1, (step + 1) / warmup_steps),    step = 0, 1, ...

    The warm-up multiplies a decay that runs from the first step on, as in detectron2's DeepLab (`WarmupPolyLR`) and
    in pytorch-deeplab-xception; mmsegmentation begins to decay after it. Neither starts as here: the first step
    already moves, by 1 / `warmup_steps` of the rate.

    Args:
        learning_rate: before any decay.
        steps: of the whole training. From there on, the rate is zero.
        power: of what is left of the training; 0.9 in the public implementations.
        warmup_steps: steps until the rate is the full one; 0 for none.

    Raises:
        InputError: there are no steps, or a negative number to warm up.
    """

    def __init__(self, learning_rate: float, steps: int, power: float = 0.9, warmup_steps: int = 0) -> None:
        if steps < 1 or warmup_steps < 0:
            raise InputError(
                "A schedule takes one step or more, and 0 or more to warm up. "
                f"Received: steps={steps!r}, warmup_steps={warmup_steps!r}."
            )
        self.learning_rate = learning_rate
        self.steps = steps
        self.power = power
        self.warmup_steps = warmup_steps

    def __call__(self, step: KerasTensor | int) -> KerasTensor:
        """The learning rate at a step, float32 of the step's shape."""
        left = ops.cast(ops.maximum(self.steps - step, 0), "float32")  # in integers: no digits are lost at the end
        rate = self.learning_rate * (left / self.steps) ** self.power
        if self.warmup_steps:
            rate = rate * ops.minimum((ops.cast(step, "float32") + 1) / self.warmup_steps, 1)
        return rate

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "steps": self.steps,
            "power": self.power,
            "warmup_steps": self.warmup_steps,
        }
