"""Stochastic gradient descent as the public DeepLabV3+ implementations have it."""

from typing import Any

import keras
from keras import KerasTensor, ops


@keras.saving.register_keras_serializable("keras_crosscoop")
class SGD(keras.optimizers.Optimizer):
    """SGD with momentum, weight decay in the gradient, and a larger step for everything outside the backbones.

    For a weight w of gradient g, with velocity v, at learning rate r:

        v <- momentum v + g + weight_decay w
        w <- w - r v                            in a backbone
        w <- w - head_multiplier r v            elsewhere

    Keras's own SGD has the learning rate inside v, which differs while the rate decays, and decays weights apart from
    the gradient.

    Args:
        learning_rate: r, a number or a Keras schedule, of the backbones.
        momentum: of the velocity.
        weight_decay: of every weight.
        head_multiplier: of the learning rate outside of the backbones.
        **kwargs: of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.007,
        *,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        head_multiplier: float = 10.0,
        name: str = "sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.decay = weight_decay  # `weight_decay` is Keras's, apart from the gradient
        self.head_multiplier = head_multiplier

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes a velocity for each variable, and notes which belong to a backbone."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self.multipliers = [1.0 if in_backbone(variable) else self.head_multiplier for variable in variables]

    def update_step(self, gradient: KerasTensor, variable: keras.Variable, learning_rate: KerasTensor) -> None:
        """One step of one variable, see the class."""
        index = self._get_variable_index(variable)
        velocity = self.velocities[index]
        rate = ops.cast(learning_rate, variable.dtype) * self.multipliers[index]
        gradient = ops.cast(gradient, variable.dtype) + self.decay * variable
        self.assign(velocity, self.momentum * velocity + gradient)
        self.assign_sub(variable, rate * velocity)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "head_multiplier": self.head_multiplier,
        }


def in_backbone(variable: keras.Variable) -> bool:
    """Whether a variable belongs to a backbone: its path begins with the scope that it was built in."""
    return variable.path.split("/")[0].endswith("backbone")
