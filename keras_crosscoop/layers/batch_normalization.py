"""Batch normalisation that trains with TensorFlow's fused kernels.

Keras composes batch normalisation of many operations. On several devices it computes the variance as the mean of
squares minus the square of the mean, which loses digits, and it reduces three times per layer, where once is enough.

Reference: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979
(the combination of the variances of several parts).
"""

from typing import Any

import keras
from keras import KerasTensor

from keras_crosscoop.backend import tf
from keras_crosscoop.keras_internals import fused_batch_norm, fused_batch_norm_gradient


@keras.saving.register_keras_serializable("keras_crosscoop")
class BatchNormalization(keras.layers.BatchNormalization):
    """Computes Keras's `BatchNormalization` with fused kernels in training: `(B, H, W, C) -> (B, H, W, C)`.

    Arguments, weights, moving averages, results and configuration are those of `keras.layers.BatchNormalization`.
    `synchronized` may be set at any time before a step is traced.

    Example:
        >>> layer = BatchNormalization(epsilon=1e-6)
        >>> outputs = layer(np.reshape([1.0, 2.0, 3.0, 6.0], (1, 2, 2, 1)), training=True)
        >>> np.asarray(outputs).ravel().round(2)  # mean 3, variance 3.5
        array([-1.07, -0.53,  0.  ,  1.6 ], dtype=float32)
    """

    def call(self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None) -> KerasTensor:
        """See `keras.layers.BatchNormalization.call`."""
        plain = self.scale and self.center and not getattr(self, "renorm", False) and mask is None
        fusable = plain and len(inputs.shape) == 4 and self.axis in (-1, 3) and self.variable_dtype == "float32"
        if tf is None or not (training and self.trainable and fusable):
            return super().call(inputs, training=training, mask=mask)
        gamma, beta = map(tf.convert_to_tensor, (self.gamma, self.beta))
        outputs, mean, variance = _normalize(inputs, gamma, beta, self.epsilon, self.synchronized)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Returns all batch normalisation layers of a model, with the layers of nested models first."""
    nested = [norm for layer in model.layers if isinstance(layer, keras.Model) for norm in batch_norms(layer)]
    return nested + [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _normalize(features: Any, gamma: Any, beta: Any, epsilon: float, synchronized: bool) -> tuple[Any, Any, Any]:
    """Normalises a batch: `(B, H, W, C) -> outputs (B, H, W, C), mean (C,), biased variance (C,)`.

    The statistics cover all replicas in sync if `synchronized`, otherwise only this replica's batch.
    """
    outputs, mean, variance = fused_batch_norm(features, gamma, beta, epsilon)
    count = tf.cast(tf.size(features) // gamma.shape[0], variance.dtype)
    variance *= (count - 1) / count  # the kernel returns the unbiased variance
    replica = tf.distribute.get_replica_context()
    if not synchronized or replica is None or replica.num_replicas_in_sync == 1:
        return outputs, mean, variance
    count, mean, variance = _combine(count, mean, variance, replica)

    @tf.custom_gradient
    def forward(features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *statistics: tf.Tensor) -> tuple:
        # The statistics are arguments, because TensorFlow searches the graph of all other tensors for variables.
        count, mean, variance = statistics

        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            """Adds the gradient through the statistics, which depend on the features of every replica."""
            direct, gamma_gradient, beta_gradient = fused_batch_norm_gradient(
                upstream, features, gamma, mean, variance, epsilon
            )
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([gamma_gradient, beta_gradient]))
            sums *= gamma * tf.math.rsqrt(variance + epsilon) / count
            through_statistics, *_ = fused_batch_norm(features, *tf.unstack(sums), epsilon, (mean, variance))
            return direct - through_statistics, gamma_gradient, beta_gradient, None, None, None

        return fused_batch_norm(features, gamma, beta, epsilon, (mean, variance))[0], backward

    return forward(features, gamma, beta, count, mean, variance), mean, variance


def _combine(count: Any, mean: Any, variance: Any, replica: Any) -> tuple[Any, Any, Any]:
    """Returns count, mean and variance over the pixels of all replicas, with the same bits on each replica."""
    statistics = tf.concat([count[None], mean, variance], 0)
    statistics = tf.where(count > 0, statistics, 0.0)  # the kernel returns NaN for an empty batch
    row = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, row[:, None] * statistics)  # a gather: one row a replica
    counts, means, variances = tf.split(rows, [1, mean.shape[0], mean.shape[0]], axis=1)
    count = tf.reduce_sum(counts)
    mean = tf.reduce_sum(counts * means, 0) / count
    return count, mean, tf.reduce_sum(counts * (variances + (means - mean) ** 2), 0) / count
