"""Private and semi-private names of Keras and TensorFlow. No other module of this library uses any.

Each hook states why public names do not suffice, and the versions that it works with. `tests/test_keras_internals.py`
has a test for each hook, which fails when a new version no longer has the name. `setup.cfg` excludes untested versions.
"""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.error import HTTPError, URLError

import keras
import numpy as np
from keras import KerasTensor

from keras_crosscoop.backend import tf

# Training


class TrainableModel(keras.Model):
    """A `keras.Model` with access to the metric of its loss, and without a symbolic build."""

    @property
    def loss_tracker(self) -> keras.metrics.Mean:
        """The mean of the values of `compute_loss`.

        `_loss_tracker`: steps of JAX and PyTorch update it, so `metrics` must list it; Keras has no public name for it
        (Keras >= 3.12).
        """
        return self._loss_tracker

    if tf is not None:

        def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
            """Skips Keras's symbolic build, which would average the images of all machines (issue 20585)."""


def train_function(model: keras.Model) -> Callable[[Any], dict[str, Any]]:
    """Returns the compiled function that takes an iterator of batches and trains `steps_per_execution` steps.

    `train_function`: the public `fit` cannot start within an epoch (Keras >= 3.12).
    """
    model.make_train_function()
    return model.train_function


class OptimizerWithSharedStep(keras.optimizers.Optimizer):
    """An optimizer whose `update_step` takes values that are computed once a step, and applies weight decay itself.

    `_backend_update_step`, `_get_variable_index`: Keras passes only the learning rate to `update_step`, which may not
    know the variable's position. `_apply_weight_decay`, `_use_weight_decay`: Keras decays all variables at the same
    learning rate (Keras >= 3.12).
    """

    def begin_step(self, learning_rate: KerasTensor) -> Any:
        """Returns what `update_step` gets as its learning rate."""
        return learning_rate

    def end_step(self, shared: Any) -> None:
        """Runs after all variables were updated, with the result of `begin_step`."""

    def index_of(self, variable: keras.Variable) -> int:
        """Returns the variable's position among those that the optimizer was built with."""
        return self._get_variable_index(variable)

    def has_weight_decay(self, variable: keras.Variable) -> bool:
        """Returns whether weight decay applies to a variable, according to `exclude_from_weight_decay`."""
        return self._use_weight_decay(variable)

    def _apply_weight_decay(self, variables: list) -> None:
        """Leaves weight decay to `update_step`."""

    def _backend_update_step(self, grads: list, trainable_variables: list, learning_rate: KerasTensor) -> None:
        shared = self.begin_step(learning_rate)
        super()._backend_update_step(grads, trainable_variables, shared)
        self.end_step(shared)


def expect_reduced_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Makes an optimizer take gradients that are already summed over replicas.

    `_all_reduce_sum_gradients`: Keras clips gradients and checks them for infinities before it sums them. Replicas
    would clip by different norms, and disagree on whether to take a step (Keras >= 3.12).
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # inside a `LossScaleOptimizer`
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables


def momentum_step(
    variable: keras.Variable, velocity: keras.Variable, gradient: KerasTensor, rate: KerasTensor, momentum: float
) -> None:
    """Computes `v <- momentum v + g; w <- w - rate v` in one kernel.

    `raw_ops.ResourceApplyMomentum`: assignments take several kernels for each of hundreds of variables
    (TensorFlow >= 2.18).
    """
    tf.raw_ops.ResourceApplyMomentum(
        var=variable.handle, accum=velocity.handle, lr=rate, grad=gradient, momentum=momentum
    )


def adam_step(
    optimizer: keras.optimizers.Adam,
    variable: keras.Variable,
    gradient: KerasTensor,
    rate: KerasTensor,
    beta_1_power: KerasTensor,
    beta_2_power: KerasTensor,
) -> None:
    """Computes `update_step` of Keras's Adam in one kernel, with powers of beta that are computed once a step.

    `raw_ops.ResourceApplyAdam`: for the same reason as in `momentum_step` (TensorFlow >= 2.18). `_momentums`,
    `_velocities`: Keras has no public names for the moments (Keras >= 3.12).
    """
    index = optimizer._get_variable_index(variable)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].handle,
        v=optimizer._velocities[index].handle,
        beta1_power=beta_1_power,
        beta2_power=beta_2_power,
        lr=rate,
        beta1=optimizer.beta_1,
        beta2=optimizer.beta_2,
        epsilon=optimizer.epsilon,
        grad=gradient,
    )


def subtract_scaled(variable: keras.Variable, factor: KerasTensor | float, value: KerasTensor) -> None:
    """Computes `w <- w - factor value` in one kernel, for the same reason as `momentum_step`.

    `raw_ops.ResourceApplyGradientDescent` (TensorFlow >= 2.18).
    """
    tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=factor, delta=value)


# Strategies


def spans_machines(strategy: Any) -> bool:
    """Whether a strategy runs on several machines.

    `extended._in_multi_worker_mode`: Keras reduces metrics differently where this is true (TensorFlow >= 2.18). It is
    false for a `MultiWorkerMirroredStrategy` of one machine.
    """
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()


def synchronizes_in_loops(strategy: Any) -> bool:
    """Whether replicas can reduce tensors inside a `tf.while_loop`.

    `extended._use_merge_call`: strategies that merge the replicas' calls cannot, and raise only when the loop is traced
    (TensorFlow >= 2.18).
    """
    return not strategy.extended._use_merge_call()


def lost_machine(error: Exception) -> str | None:
    """Returns the machine that an error of TensorFlow's collectives names, "worker 1" for example.

    Only the text of the error names it (TensorFlow >= 2.18).
    """
    match = re.search(r"(?:unhealthy[^/]*|remote target )/job:(\w+)/replica:\d+/task:(\d+)", error.message)
    return f"{match[1]} {match[2]}" if match else None


# Batch normalisation


def fused_batch_norm(
    features: Any, gamma: Any, beta: Any, epsilon: float, statistics: tuple[Any, Any] | None = None
) -> tuple[Any, Any, Any]:
    """Normalises features by their own statistics, or by given ones: returns outputs, mean and unbiased variance.

    `raw_ops.FusedBatchNormV3`: `keras.ops.batch_normalization` takes several kernels (TensorFlow >= 2.18).
    """
    mean, variance = statistics or ([], [])
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=features,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=statistics is None,
    )
    return outputs, mean, variance


def fused_batch_norm_gradient(
    upstream: Any, features: Any, gamma: Any, mean: Any, variance: Any, epsilon: float
) -> tuple[Any, Any, Any]:
    """Returns the gradients of features, gamma and beta of `fused_batch_norm` with constant statistics.

    `raw_ops.FusedBatchNormGradV3`: a custom gradient cannot call TensorFlow's own gradient (TensorFlow >= 2.18).
    """
    features_gradient, gamma_gradient, beta_gradient, *_ = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=upstream,
        x=features,
        scale=gamma,
        reserve_space_1=mean,
        reserve_space_2=variance,
        reserve_space_3=[0.0],
        epsilon=epsilon,
        is_training=False,
    )
    return features_gradient, gamma_gradient, beta_gradient


# Functional graphs


def producer(tensor: KerasTensor) -> keras.Operation:
    """Returns the operation that computes a symbolic tensor.

    `_keras_history`: public names lead from operations to tensors only (Keras >= 3.12).
    """
    return tensor._keras_history.operation


def call_tensors(model: keras.Model) -> tuple[list[KerasTensor], list[KerasTensor]]:
    """Returns the inputs and outputs of a nested model's first call, in the graph of the outer model.

    `_inbound_nodes`: `model.input` and `model.output` belong to the nested model's own graph (Keras >= 3.12).
    """
    node = model._inbound_nodes[0]
    return node.input_tensors, node.output_tensors


def flatten_layers(model: keras.Model) -> list[keras.Layer]:
    """Returns a model and all layers inside it, at any depth.

    `_flatten_layers`: `model.layers` ends at nested models and wrappers (Keras >= 3.12).
    """
    return list(model._flatten_layers())


@contextmanager
def unchanged_graph(model: keras.Model) -> Iterator[None]:
    """Allows building models that begin in the middle of a model's graph, and restores the graph on exit.

    `_inbound_nodes`, `_outbound_nodes`, `_keras_history`: Keras records the calls of the new models in the shared
    layers, which then have several outputs, and turns the tensors into inputs (Keras >= 3.12).
    """
    graphs = [layer for layer in flatten_layers(model) if isinstance(layer, keras.Model)]
    histories = [(tensor, tensor._keras_history) for graph in graphs for tensor in graph.inputs]
    operations = [operation for graph in graphs for operation in (graph, *graph.operations)]
    lists = [nodes for operation in operations for nodes in (operation._inbound_nodes, operation._outbound_nodes)]
    lengths = [len(nodes) for nodes in lists]
    try:
        yield
    finally:
        for nodes, length in zip(lists, lengths, strict=True):
            del nodes[length:]
        for tensor, history in histories:
            tensor._keras_history = history


# Process state


@contextmanager
def restored_random_state() -> Iterator[None]:
    """Restores the random states of Python, NumPy, Keras and TensorFlow, and TensorFlow's determinism, on exit.

    Keras's `global_state` and TensorFlow's eager context: their seeds can be set, not read (Keras >= 3.12, TensorFlow
    >= 2.18). `disable_op_determinism`: determinism can be enabled, not disabled (TensorFlow >= 2.18). Kernels with
    their own seeds start again from these seeds.
    """
    from keras.src.backend.common import global_state
    from tensorflow.python.eager import context
    from tensorflow.python.framework import config

    eager = context.context()
    tensorflow_state = {name: getattr(eager, name, None) for name in ("_seed", "_rng")}
    names = ("global_random_seed", "global_seed_generator")
    keras_state = {name: global_state.get_global_attribute(name) for name in names}
    python_state, numpy_state = random.getstate(), np.random.get_state()
    was_deterministic = config.is_op_determinism_enabled()
    try:
        yield
    finally:
        if not was_deterministic:
            config.disable_op_determinism()
        for name, value in keras_state.items():
            global_state.set_global_attribute(name, value)
        vars(eager).update(tensorflow_state)
        random.setstate(python_state)
        np.random.set_state(numpy_state)


# Files, downloads and errors


def saved_model_outputs(count: int) -> list[str]:
    """Returns the names of the output operations of a SavedModel's signature.

    `StatefulPartitionedCall:N`: TensorFlow's converter uses these names, and does not list them (TensorFlow >= 2.18).
    """
    return [f"StatefulPartitionedCall:{number}" for number in range(count)]


def write_event(writer: Any, event: Any) -> None:
    """Writes an event to the file of a `tf.summary.SummaryWriter`.

    `raw_ops.ImportEvent`, `_resource`: `tf.summary` cannot write the start of a session, which makes TensorBoard drop
    the later steps of an interrupted run (TensorFlow >= 2.18).
    """
    tf.raw_ops.ImportEvent(writer=writer._resource, event=event.SerializeToString())


def unwritable_file(error: Exception, folder: str) -> tuple[str, str] | None:
    """Returns the reason why `tf.summary` could not write a file in `folder`, and the file.

    Only the text of the error contains them (TensorFlow >= 2.18).
    """
    match = re.search(rf"({re.escape(folder)}\S*); ([^\n]+)", error.message)
    return (match[2].strip(), match[1]) if match else None


def failed_assertion(error: Exception, prefix: str) -> str | None:
    """Returns the message of a failed `tf.debugging.Assert`, if it is one string that begins with `prefix`.

    TensorFlow wraps the message, and escapes quotes and backslashes (TensorFlow >= 2.18).
    """
    match = re.search(rf"assertion failed: \[({re.escape(prefix)}.*)\]$", str(error), re.MULTILINE)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else None


def is_download_error(error: Exception) -> bool:
    """Whether a network of `keras.applications` could not be built because its weights could not be fetched.

    `get_file` raises a bare `Exception` if a download fails, and a `ValueError` if the file is corrupted
    (Keras >= 3.12); wrong arguments raise a `TypeError` or another `ValueError`.
    """
    return not isinstance(error, TypeError | ValueError) or "corrupted file" in str(error)


def download_reason(error: Exception) -> str:
    """Returns the reason why `keras.utils.get_file` failed, in one line.

    For an error without an HTTP status, such as an unknown host, Keras's message has "None" in place of the reason,
    which is in the error's context (Keras >= 3.12).
    """
    cause = error.__context__
    if isinstance(cause, URLError) and not isinstance(cause, HTTPError):
        return str(cause.reason)
    return " ".join(str(error).split())
