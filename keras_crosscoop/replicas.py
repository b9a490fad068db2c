"""What differs in a step that runs on several devices at once: sums over all of them, and two gaps of Keras's.

Without TensorFlow, and outside of a `tf.distribute` strategy, there is one replica, and nothing here does anything.
"""

from typing import Any

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
else:
    tf = None


def num_replicas() -> int:
    """How many replicas there are."""
    return tf.distribute.get_strategy().num_replicas_in_sync if tf else 1


def all_reduce_sum(values: Any) -> Any:
    """The sums over all replicas of a structure of tensors, where each replica holds its own part."""
    context = tf and tf.distribute.get_replica_context()
    if not context or context.num_replicas_in_sync == 1:
        return values
    flat = keras.tree.flatten(values)
    return keras.tree.pack_sequence_as(values, context.all_reduce(tf.distribute.ReduceOp.SUM, flat))


def expect_reduced_gradients(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets an optimizer take gradients that are `all_reduce_sum` already.

    Keras's sum them within `apply`, but clip them and look for infinities before that: replicas would then clip by
    different norms, and disagree on whether there is a step at all.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # of the one that scales losses
    optimizer._all_reduce_sum_gradients = lambda gradients_and_variables: gradients_and_variables


def add_replica_axis(figures: dict[str, Any]) -> dict[str, Any]:
    """A step's figures in the shape in which Keras averages them over the replicas.

    On several machines that is along a first axis, which figures do not have (keras issue 20585).
    """
    strategy = tf.distribute.get_strategy()
    several_machines = (  # as Keras tells it
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and strategy.extended._in_multi_worker_mode()
    )
    return {name: figure[None] for name, figure in figures.items()} if several_machines else figures
