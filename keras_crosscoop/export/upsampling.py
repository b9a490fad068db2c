"""The decoder's first 3x3 convolution, computed before its input is upsampled.

A 3x3 convolution is nine matrix products over channels, one per tap, whose results are shifted and added. Products over
channels commute with bilinear upsampling. So the products are computed for the small features, which have a sixteenth
of the pixels. Shifting, adding and upsampling are one matrix along each axis. The results are the same up to rounding.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers

from keras_crosscoop.export.rewriting import copy_of, rewrite
from keras_crosscoop.keras_internals import producer
from keras_crosscoop.layers import ResizeLike

_TAPS = 3  # of the kernel, along each axis


def conv_before_upsample(model: keras.Model) -> keras.Model:
    """Returns a copy of a model in which each 3x3 convolution of [upsampled features, other features] is split.

    The part that reads upsampled features becomes an `UpsampledConv2D` of the features before upsampling.
    """

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if not (isinstance(operation, layers.Conv2D) and _is_plain(operation)):
            return None
        concatenation = producer(arguments[0])
        if not isinstance(concatenation, layers.Concatenate) or len(concatenation.input) != 2:
            return None
        upsampled, others = concatenation.input
        if not isinstance(producer(upsampled), ResizeLike):
            return None
        features, like = producer(upsampled).input
        kernel, *bias = operation.get_weights()
        channels = features.shape[-1]
        convolution = UpsampledConv2D(operation.filters, name=f"{operation.name}_upsampled")
        upsampled_part = convolution(features, like)
        convolution.set_weights([kernel[:, :, :channels]])
        other_part = copy_of(operation, weights=[kernel[:, :, channels:], *bias])(others)
        return layers.Add(name=f"{operation.name}_sum")([upsampled_part, other_part])

    return rewrite(model, replace)


def _is_plain(convolution: layers.Conv2D) -> bool:
    same = convolution.padding == "same" and convolution.kernel_size == (_TAPS, _TAPS)
    linear = convolution.activation is keras.activations.linear
    return same and linear and convolution.strides == convolution.dilation_rate == (1, 1) and convolution.groups == 1


class UpsampledConv2D(keras.layers.Layer):
    """A 3x3 convolution of features that `ResizeLike` upsamples: `(B, h, w, C), (B, H, W, *) -> (B, H, W, filters)`.

    Args:
        filters: Channels of the outputs.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, features_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel, in the shape of `Conv2D`'s."""
        self.kernel = self.add_weight(shape=(_TAPS, _TAPS, features_shape[-1], self.filters), name="kernel")

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        batch, height, width, channels = keras.ops.shape(features)
        _, new_height, new_width, _ = keras.ops.shape(like)
        # The contribution of each pixel to its nine neighbours: (B, h, w, rows of taps, columns of taps, filters)
        kernel = tf.reshape(tf.transpose(self.kernel, [2, 0, 1, 3]), [1, 1, channels, -1])
        products = tf.nn.conv2d(features, kernel, 1, "VALID")
        products = tf.reshape(products, [batch, height, width, _TAPS, _TAPS, self.filters])
        products = tf.transpose(products, [0, 3, 1, 4, 2, 5])
        products = tf.reshape(products, [batch, _TAPS * height, _TAPS * width, self.filters])
        wide = tf.matmul(_upsampling_matrix(width, new_width), products)
        large = tf.matmul(_upsampling_matrix(height, new_height), tf.reshape(wide, [batch, _TAPS * height, -1]))
        return tf.reshape(large, [batch, new_height, new_width, self.filters])

    def compute_output_shape(self, features_shape: tuple, like_shape: tuple) -> tuple[int | None, ...]:
        """Returns the output shape for the two input shapes."""
        return (*like_shape[:3], self.filters)


def _upsampling_matrix(length: Any, new_length: Any) -> tf.Tensor:
    """Returns the matrix that upsamples, shifts and adds three taps along an axis: `(new_length, 3 length)`."""
    upsampling = tf.image.resize(tf.eye(length)[..., None], [new_length, length])[..., 0]
    padded = tf.pad(upsampling, [[1, 1], [0, 0]])  # the convolution's zero padding
    return tf.concat([padded[tap : tap + new_length] for tap in range(_TAPS)], axis=1)
