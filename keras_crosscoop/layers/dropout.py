"""Dropout that is independent on each device."""

import keras
from keras import KerasTensor

from keras_crosscoop.backend import tf


@keras.saving.register_keras_serializable("keras_crosscoop")
class Dropout(keras.layers.Dropout):
    """Applies `keras.layers.Dropout` with a separate mask on each device of a `tf.distribute` strategy.

    Keras itself drops the same units on every device. Arguments and configuration are those of the Keras layer.

    Example:
        >>> np.unique(np.asarray(Dropout(0.5)(np.ones((1, 64)), training=True)))
        array([0., 2.], dtype=float32)
    """

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """See `keras.layers.Dropout.call`."""
        replica = tf and tf.distribute.get_replica_context()
        if not (training and 0 < self.rate < 1 and replica and replica.num_replicas_in_sync > 1):
            return super().call(inputs, training=training)
        seed = tf.add(tf.cast(self.seed_generator.next(), "int32"), [replica.replica_id_in_sync_group, 0])
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)
