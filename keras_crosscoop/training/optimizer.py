"""The optimizers: SGD as in the public DeepLabV3+ implementations, and AdamW."""

from collections.abc import Callable
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import OptimizerWithSharedStep, adam_step, momentum_step, subtract_scaled


class SegmentationOptimizer(OptimizerWithSharedStep):
    """The base of `SGD` and `AdamW`: a larger learning rate outside the backbones, and averages of all weights.

    The learning rate r is `head_lr_multiplier` times as large outside the backbones. With an `ema_decay` d, a moving
    average a of each weight w is updated after step t = 0, 1, ...:

        a <- d' a + (1 - d') w,    d' = min(d, (1 + t) / (10 + t))

    In early steps d' is smaller, so that short runs forget their initial weights, as in
    `tf.train.ExponentialMovingAverage`. Batch-normalisation statistics are averaged in the same way, see
    `update_ema_statistics`.

    A subclass defines `descend`. It may name a Keras optimizer as its second base.

    Attributes:
        decoupled_weight_decay: Whether `w <- w - r weight_decay w` precedes `descend`.
        decays: The weight decay of each trainable variable.
        multipliers: The learning-rate multiplier of each trainable variable.
        ema_weights: A of each trainable variable; empty without `ema_decay`.
        statistics: The other averaged variables.
        ema_statistics: Their averages.

    Raises:
        InputError: `ema_decay` is out of range, or `use_ema` of Keras is set.
    """

    decoupled_weight_decay: bool

    def __init__(
        self, learning_rate: Any, *, head_lr_multiplier: float, ema_decay: float | None, **kwargs: Any
    ) -> None:
        if ema_decay is not None and not 0 <= ema_decay < 1:
            raise InputError(f"`ema_decay` must be at least 0 and below 1, or None. Received: ema_decay={ema_decay!r}.")
        if kwargs.get("use_ema"):
            raise InputError(
                "`use_ema` does not average on each device. Set `ema_decay` instead. Received: use_ema=True."
            )
        super().__init__(learning_rate, **kwargs)
        self.head_lr_multiplier = head_lr_multiplier
        self.ema_decay = ema_decay
        self.statistics: list[keras.Variable] = []
        self.ema_statistics: list[keras.Variable] = []

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        self.ema_weights = [] if self.ema_decay is None else self._averages_of(variables)
        self.multipliers = [1.0 if in_backbone(variable) else self.head_lr_multiplier for variable in variables]
        self.decays = [self.weight_decay if self.has_weight_decay(variable) else 0.0 for variable in variables]

    def update_ema_statistics(self, statistics: list[keras.Variable]) -> None:
        """Averages these variables, too, if the optimizer averages weights. Call `build` before. TensorFlow only.

        Each of several devices averages its own copy.

        Args:
            statistics: Variables that change without gradients: moving means and variances of batch normalisation.
        """
        if self.ema_decay is not None and not self.statistics:  # set already if a model is compiled again
            self.statistics = list(statistics)
            self.ema_statistics = self._averages_of(statistics)

    def _averages_of(self, variables: list[keras.Variable]) -> list[keras.Variable]:
        return [self.add_variable_from_reference(v, "average", _value_of(v)) for v in variables]

    def begin_step(self, learning_rate: KerasTensor) -> tuple[KerasTensor | None, ...]:
        """Returns r, 1 - d' of the averages, and further arguments of `descend`."""
        share = None
        if self.ema_decay is not None:
            share = ops.maximum(1 - self.ema_decay, 9 / (10 + ops.cast(self.iterations, "float32")))
        return ops.convert_to_tensor(learning_rate), share

    def end_step(self, shared: tuple[KerasTensor | None, ...]) -> None:
        """Updates the averages of the statistics."""
        share = shared[1]
        for average, statistic in zip(self.ema_statistics, self.statistics, strict=True):
            self.subtract(average, ops.cast(share, statistic.dtype), average - statistic)

    def update_step(
        self, gradient: KerasTensor, variable: keras.Variable, learning_rate: tuple[KerasTensor | None, ...]
    ) -> None:
        """Updates a variable; `learning_rate` is the result of `begin_step`."""
        rate, share, *others = (None if value is None else ops.cast(value, variable.dtype) for value in learning_rate)
        index = self.index_of(variable)
        rate = rate * self.multipliers[index]
        if self.decoupled_weight_decay and self.decays[index]:
            self.subtract(variable, rate * self.decays[index], variable)
        self.descend(variable, ops.cast(gradient, variable.dtype), rate, *others)
        if share is not None:
            average = self.ema_weights[index]
            self.subtract(average, share, average - variable)

    def descend(self, variable: keras.Variable, gradient: KerasTensor, rate: KerasTensor, *others: KerasTensor) -> None:
        """Updates a weight by its gradient, in few TensorFlow kernels where possible: there are hundreds of variables.

        Args:
            variable: The weight.
            gradient: Its gradient.
            rate: Its learning rate.
            *others: What `begin_step` returns beyond the first two values.
        """
        raise NotImplementedError

    def subtract(self, variable: keras.Variable, factor: KerasTensor | float, value: KerasTensor) -> None:
        """Computes `variable <- variable - factor value`, in one TensorFlow kernel where possible."""
        if _has_kernels(variable):
            subtract_scaled(variable, factor, value)
        else:
            self.assign_sub(variable, factor * value)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"head_lr_multiplier": self.head_lr_multiplier, "ema_decay": self.ema_decay}


@keras.saving.register_keras_serializable("keras_crosscoop")
class SGD(SegmentationOptimizer):
    """SGD with momentum and weight decay, and a larger learning rate outside the backbones.

    For a weight w with gradient g and velocity v, and a learning rate r that is `head_lr_multiplier` times as large
    outside the backbones, as in `torch.optim.SGD`:

        v <- momentum v + g + weight_decay w
        w <- w - r v

    Keras's SGD differs: its velocity includes r, which matters while r decays, and its weight decay is decoupled from
    the gradient. With `decoupled_weight_decay`, this optimizer decouples it, too (SGDW):

        v <- momentum v + g
        w <- w - r v - r weight_decay w

    where r is the current rate, including schedule and `head_lr_multiplier`, as in `torch.optim.AdamW`. Momentum does
    not amplify this decay: for the same effect, `weight_decay` must be 1 / (1 - momentum) times as large.

    With an `ema_decay`, the optimizer averages the weights, see `SegmentationOptimizer`.

    Args:
        learning_rate: R of the backbones, a number or a Keras schedule.
        momentum: The decay of the velocity.
        weight_decay: The decay of all weights.
        head_lr_multiplier: The factor of the learning rate outside the backbones.
        decoupled_weight_decay: Whether to apply weight decay outside of the velocity.
        ema_decay: The decay of the averages, in [0, 1); None for no averages.
        **kwargs: Options of `keras.optimizers.Optimizer`. `global_clipnorm` bounds the norm of all gradients before
            weight decay, as `torch.nn.utils.clip_grad_norm_` does.

    Attributes:
        velocities: V of each trainable variable.

    Raises:
        InputError: `ema_decay` is out of range, or `use_ema` of Keras is set.

    Example:
        >>> import keras
        >>> from keras_crosscoop.training import SGD
        >>> weight = keras.Variable([1.0], name="kernel")
        >>> optimizer = SGD(0.1, momentum=0.9, weight_decay=0.0, head_lr_multiplier=10.0)
        >>> optimizer.apply([keras.ops.array([0.5])], [weight])
        >>> round(float(weight[0]), 3)  # 1 - 10 * 0.1 * 0.5: the variable is outside the backbones
        0.5

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019 (SGDW).
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
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            head_lr_multiplier=head_lr_multiplier,
            ema_decay=ema_decay,
            name=name,
            **kwargs,
        )
        self.momentum = momentum
        self.decoupled_weight_decay = decoupled_weight_decay

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the optimizer's variables."""
        if self.built:
            return
        super().build(variables)
        self.velocities = self.add_optimizer_variables(variables, "velocity")

    def descend(self, variable: keras.Variable, gradient: KerasTensor, rate: KerasTensor) -> None:
        """Updates velocity and weight."""
        index = self.index_of(variable)
        velocity, decay = self.velocities[index], 0.0 if self.decoupled_weight_decay else self.decays[index]
        if not (_has_kernels(variable) and self.momentum):
            self.assign(velocity, self.momentum * velocity + gradient + decay * variable)
            self.assign_sub(variable, rate * velocity)
            return
        if decay:  # the second kernel multiplies the velocity by the momentum
            self.subtract(velocity, -decay / self.momentum, variable)
        momentum_step(variable, velocity, gradient, rate, self.momentum)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {
            "momentum": self.momentum,
            "decoupled_weight_decay": self.decoupled_weight_decay,
        }


@keras.saving.register_keras_serializable("keras_crosscoop")
class AdamW(SegmentationOptimizer, keras.optimizers.AdamW):
    """Keras's AdamW, with a larger learning rate outside the backbones, and without decay of biases and normalisation.

    For a weight w with gradient g, first moment m and second moment v, a learning rate r that is `head_lr_multiplier`
    times as large outside the backbones, and step t = 1, 2, ...:

        w <- w - r weight_decay w
        m <- beta_1 m + (1 - beta_1) g
        v <- beta_2 v + (1 - beta_2) g^2
        w <- w - r sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon)

    R is the current rate, including the schedule, also in the decay, as in `torch.optim.AdamW`. Kernels decay;
    variables of one dimension, which are biases and the scales and offsets of normalisation, do not, as in timm.

    With an `ema_decay`, the optimizer averages the weights, see `SegmentationOptimizer`.

    Args:
        learning_rate: R of the backbones, a number or a Keras schedule.
        weight_decay: The decay of kernels.
        head_lr_multiplier: The factor of the learning rate outside the backbones.
        ema_decay: The decay of the averages, in [0, 1); None for no averages.
        **kwargs: Options of `keras.optimizers.AdamW`, such as `beta_1`, `beta_2`, `epsilon` and `global_clipnorm`.

    Raises:
        InputError: `ema_decay` is out of range, or `use_ema` of Keras is set.

    Example:
        >>> import keras
        >>> from keras_crosscoop.training import AdamW
        >>> weight = keras.Variable([1.0], name="bias")
        >>> optimizer = AdamW(0.01, head_lr_multiplier=10.0)
        >>> optimizer.apply([keras.ops.array([0.5])], [weight])
        >>> round(float(weight[0]), 3)  # 1 - 10 * 0.01: the size of the first step does not depend on the gradient
        0.9

    Reference:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    decoupled_weight_decay = True

    def __init__(
        self,
        learning_rate: Any = 6e-5,
        *,
        weight_decay: float = 0.01,
        head_lr_multiplier: float = 10.0,
        ema_decay: float | None = None,
        name: str = "adamw",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            weight_decay=weight_decay,
            head_lr_multiplier=head_lr_multiplier,
            ema_decay=ema_decay,
            name=name,
            **kwargs,
        )

    def has_weight_decay(self, variable: keras.Variable) -> bool:
        """Returns whether weight decay applies to a variable."""
        return len(variable.shape) > 1 and super().has_weight_decay(variable)

    def begin_step(self, learning_rate: KerasTensor) -> tuple[KerasTensor | None, ...]:
        """Returns r, 1 - d' of the averages, beta_1^t and beta_2^t."""
        step = ops.cast(self.iterations + 1, "float32")
        return *super().begin_step(learning_rate), ops.power(self.beta_1, step), ops.power(self.beta_2, step)

    def descend(
        self, variable: keras.Variable, gradient: KerasTensor, rate: KerasTensor, *beta_powers: KerasTensor
    ) -> None:
        """Updates moments and weight."""
        if _has_kernels(variable) and not self.amsgrad:
            adam_step(self, variable, gradient, rate, *beta_powers)
        else:
            keras.optimizers.AdamW.update_step(self, gradient, variable, rate)


def in_backbone(variable: keras.Variable) -> bool:
    """Returns whether a variable belongs to a backbone, according to the first part of its path."""
    return variable.path.split("/")[0].endswith("backbone")


def _has_kernels(variable: keras.Variable) -> bool:
    """Returns whether TensorFlow has kernels for a variable on all devices; GPUs have none for bfloat16."""
    return keras.backend.backend() == "tensorflow" and variable.dtype == "float32"


def _value_of(variable: keras.Variable) -> Callable[..., KerasTensor]:
    """Returns an initializer that copies the value of a variable."""
    return lambda shape, dtype: ops.copy(variable)
