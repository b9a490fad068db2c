"""Batch normalisation in training on TensorFlow, with its fused kernels: of one replica's batch, or of all replicas'.

Keras takes the variance of a batch on several devices for the mean of squares less the square of the mean, which loses
every digit that the two have in common, and reduces three times a layer what fits into one.

Reference: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979
(variances of parts, put together).
"""

import tensorflow as tf


def normalized(
    features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, synchronized: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Features by their own statistics, and these: `(B, H, W, C) -> (B, H, W, C), mean (C,), biased variance (C,)`.

    Args:
        features: float32, float16 or bfloat16; all else is float32.
        gamma: what they are scaled by then, `(C,)`.
        beta: what is added at last, `(C,)`.
        epsilon: what the variance is raised by.
        synchronized: whether the statistics are those of all replicas in sync, where there are several.
    """
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=features, scale=gamma, offset=beta, mean=[], variance=[], epsilon=epsilon
    )
    count = tf.cast(tf.size(features) // gamma.shape[0], variance.dtype)
    variance *= (count - 1) / count  # the kernel's is the unbiased one
    replica = tf.distribute.get_replica_context()
    if not synchronized or replica is None or replica.num_replicas_in_sync == 1:
        return outputs, mean, variance
    statistics = _of_all_replicas(count, mean, variance, replica)
    return _by_statistics(features, gamma, beta, *statistics, epsilon, replica), *statistics[1:]


def _of_all_replicas(
    count: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, replica: tf.distribute.ReplicaContext
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The count, mean and variance of all replicas' pixels together, to the bit the same on each of them."""
    mine = tf.concat([count[None], mean, variance], 0)
    mine = tf.where(count > 0, mine, 0.0)  # the kernel makes NaN of nothing
    row = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync)
    rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, row[:, None] * mine)  # gathers them, one row a replica
    channels = mean.shape[0]
    counts, means, variances = tf.split(rows, [1, channels, channels], axis=1)
    count = tf.reduce_sum(counts)
    mean = tf.reduce_sum(counts * means, 0) / count
    return count, mean, tf.reduce_sum(counts * (variances + (means - mean) ** 2), 0) / count


def _by_statistics(
    features: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    count: tf.Tensor,
    mean: tf.Tensor,
    variance: tf.Tensor,
    epsilon: float,
    replica: tf.distribute.ReplicaContext,
) -> tf.Tensor:
    """Features by the statistics of all replicas, with the gradient of statistics that these features are part of."""

    @tf.custom_gradient
    def forward(features: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, *statistics: tf.Tensor) -> tuple:
        # The statistics are arguments, because TensorFlow looks for variables in all that leads to what is none.
        count, mean, variance = statistics

        def scaled(scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
            return tf.raw_ops.FusedBatchNormV3(
                x=features, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
            )[0]

        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor | None, ...]:
            direct, by_gamma, by_beta, *_ = tf.raw_ops.FusedBatchNormGradV3(  # as though the statistics were constants
                y_backprop=upstream,
                x=features,
                scale=gamma,
                reserve_space_1=mean,
                reserve_space_2=variance,
                reserve_space_3=[0.0],
                epsilon=epsilon,
                is_training=False,
            )
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stack([by_gamma, by_beta]))
            sums *= gamma * tf.math.rsqrt(variance + epsilon) / count
            return direct - scaled(*tf.unstack(sums)), by_gamma, by_beta, None, None, None

        return scaled(gamma, beta), backward

    return forward(features, gamma, beta, count, mean, variance)
