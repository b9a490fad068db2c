"""Sums over the replicas of a `tf.distribute` strategy.

Without TensorFlow or outside of a strategy, there is one replica, and these functions change nothing.
"""

from typing import Any

import keras

from keras_crosscoop.backend import tf
from keras_crosscoop.keras_internals import spans_machines


def num_replicas() -> int:
    """Returns the number of replicas."""
    return tf.distribute.get_strategy().num_replicas_in_sync if tf else 1


def all_reduce_sum(values: Any) -> Any:
    """Sums each tensor of a structure over all replicas."""
    context = tf and tf.distribute.get_replica_context()
    if not context or context.num_replicas_in_sync == 1:
        return values
    flat = keras.tree.flatten(values)
    return keras.tree.pack_sequence_as(values, context.all_reduce(tf.distribute.ReduceOp.SUM, flat))


def add_replica_axis(metrics: dict[str, Any]) -> dict[str, Any]:
    """Adds a first axis to a step's metrics on several machines, so that Keras can average them over the replicas.

    Keras averages along a first axis there, which scalars lack (keras issue 20585).
    """
    if not spans_machines(tf.distribute.get_strategy()):
        return metrics
    return {name: value[None] for name, value in metrics.items()}
