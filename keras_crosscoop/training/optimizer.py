"""Stochastic gradient descent as the public DeepLabV3+ implementations have it."""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import OptimizerWithSharedStep, momentum_step, subtract_scaled


@keras.saving.register_keras_serializable("keras_crosscoop")
class SGD(OptimizerWithSharedStep):
    """SGD with momentum, weight decay in the gradient, and a larger step for everything outside the backbones.

    For a weight w of gradient g, with velocity v, at learning rate r, which is `head_lr_multiplier` times as large
    outside of the backbones, as `torch.optim.SGD`:

        v <- momentum v + g + weight_decay w
        w <- w - r v

    Keras's own SGD has the learning rate inside v, which differs while the rate decays, and decays weights apart from
    the gradient. Where `decoupled_weight_decay`, so does this one (SGDW: Loshchilov and Hutter, ICLR 2019):

        v <- momentum v + g
        w <- w - r v - r weight_decay w

    by r as it is at that step, schedule and `head_lr_multiplier` included, like `torch.optim.AdamW`. No momentum adds to
    this decay: the same pull takes 1 / (1 - momentum) times the `weight_decay`.

    An `ema_decay` of d follows each weight, from its value when the optimizer was built, after step t = 0, 1, ...:

        a <- d' a + (1 - d') w,    d' = min(d, (1 + t) / (10 + t))

    so that a short run's averages do not remain what it began with, as in `tf.train.ExponentialMovingAverage`.
    Statistics of batch normalisation belong to the weights, and are averaged alike: see `update_ema_statistics`.

    Attributes:
        velocities: v, a variable for each trainable one.
        averages: a, likewise; none without `ema_decay`.
        statistics: what else is averaged.
        ema_statistics: their averages.

    Args:
        learning_rate: r, a number or a Keras schedule, of the backbones.
        momentum: of the velocity.
        weight_decay: of every weight.
        head_lr_multiplier: of the learning rate outside of the backbones.
        decoupled_weight_decay: whether weights decay apart from the velocity.
        ema_decay: d, in [0, 1), of moving averages of the weights; None for none.
        **kwargs: of `keras.optimizers.Optimizer`; `global_clipnorm` bounds the norm of all gradients together before
            weight decay adds to them, as `torch.nn.utils.clip_grad_norm_` does.

    Raises:
        InputError: `ema_decay` is outside of its range, or `use_ema`, which is Keras's, is on.
    """

    def __init__(
        self,
        learning_rate: Any = 0.007,
        *,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        head_lr_multiplier: float = 10.0,
        decoupled_weight_decay: bool = False,
        ema_decay: float | None = None,
        name: str = "sgd",
        **kwargs: Any,
    ) -> None:
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise InputError(f"`ema_decay` must be at least 0 and below 1, or None. Received: ema_decay={ema_decay!r}.")
        if kwargs.get("use_ema"):
            raise InputError("Keras's averages are not kept on each device: give `ema_decay`. Received: use_ema=True.")
        super().__init__(learning_rate, name=name, **kwargs)
        self.momentum = momentum
        self.decay = weight_decay  # `weight_decay` is Keras's, apart from the gradient
        self.head_lr_multiplier = head_lr_multiplier
        self.decoupled_weight_decay = decoupled_weight_decay
        self.ema_decay = ema_decay
        self.statistics: list[keras.Variable] = []
        self.ema_statistics: list[keras.Variable] = []

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes a velocity and an average for each variable, and notes which belong to a backbone."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")
        self.ema_weights = [] if self.ema_decay is None else self._averages_of(variables)
        self.multipliers = [1.0 if in_backbone(variable) else self.head_lr_multiplier for variable in variables]

    def update_ema_statistics(self, statistics: list[keras.Variable]) -> None:
        """From now on averages these after each step, as it does weights, if it does: built, and on TensorFlow.

        On several devices each averages its own copy.

        Args:
            statistics: what steps change, but not by gradients: moving means and variances of batch normalisation.
        """
        if self.ema_decay is not None and not self.statistics:  # a model may be compiled again with the same optimizer
            self.statistics = list(statistics)
            self.ema_statistics = self._averages_of(statistics)

    def _averages_of(self, variables: list[keras.Variable]) -> list[keras.Variable]:
        return [self.add_variable_from_reference(each, "average", _value_of(each)) for each in variables]

    def begin_step(self, learning_rate: KerasTensor) -> tuple[KerasTensor, KerasTensor | None]:
        """Returns the learning rate, and the share of the weights in their averages, 1 - d'."""
        share = None
        if self.ema_decay is not None:
            share = ops.maximum(1 - self.ema_decay, 9 / (10 + ops.cast(self.iterations, "float32")))
        return ops.convert_to_tensor(learning_rate), share

    def end_step(self, shared: tuple[KerasTensor, KerasTensor | None]) -> None:
        """Updates the averages of the statistics."""
        _, share = shared
        for average, statistic in zip(self.ema_statistics, self.statistics, strict=True):
            self._subtract(average, ops.cast(share, statistic.dtype), average - statistic)

    def update_step(
        self,
        gradient: KerasTensor,
        variable: keras.Variable,
        learning_rate: tuple[KerasTensor, KerasTensor | None],
    ) -> None:
        """One step of one variable, see the class, by the learning rate and the share that averages take of weights."""
        rate, share = (None if value is None else ops.cast(value, variable.dtype) for value in learning_rate)
        index = self.index_of(variable)
        rate = rate * self.multipliers[index]
        if self.decoupled_weight_decay:
            self.assign_sub(variable, rate * self.decay * variable)
        self._descend(variable, self.velocities[index], ops.cast(gradient, variable.dtype), rate)
        if share is not None:
            average = self.ema_weights[index]
            self._subtract(average, share, average - variable)

    def _descend(
        self, variable: keras.Variable, velocity: keras.Variable, gradient: KerasTensor, rate: KerasTensor
    ) -> None:
        """Velocity and weight, see the class. In two kernels on TensorFlow: there are hundreds of variables."""
        decay = 0.0 if self.decoupled_weight_decay else self.decay
        if not (_has_kernels(variable) and self.momentum):
            self.assign(velocity, self.momentum * velocity + gradient + decay * variable)
            self.assign_sub(variable, rate * velocity)
            return
        if decay:  # the second kernel multiplies by the momentum what is in the velocity
            self._subtract(velocity, -decay / self.momentum, variable)
        momentum_step(variable, velocity, gradient, rate, self.momentum)

    def _subtract(self, variable: keras.Variable, factor: KerasTensor | float, value: KerasTensor) -> None:
        """`variable <- variable - factor value`, in one kernel on TensorFlow."""
        if _has_kernels(variable):
            subtract_scaled(variable, factor, value)
        else:
            self.assign_sub(variable, factor * value)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "head_lr_multiplier": self.head_lr_multiplier,
            "decoupled_weight_decay": self.decoupled_weight_decay,
            "ema_decay": self.ema_decay,
        }


def in_backbone(variable: keras.Variable) -> bool:
    """Whether a variable belongs to a backbone: its path begins with the scope that it was built in."""
    return variable.path.split("/")[0].endswith("backbone")


def _has_kernels(variable: keras.Variable) -> bool:
    """Whether TensorFlow has kernels that update it wherever it is; of bfloat16, for one, GPUs have none."""
    return keras.backend.backend() == "tensorflow" and variable.dtype == "float32"


def _value_of(variable: keras.Variable) -> Callable[..., KerasTensor]:
    """Initializes another variable with this one's value, in memory of its own."""
    return lambda shape, dtype: ops.copy(variable)
