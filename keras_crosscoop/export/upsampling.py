"""The decoder's first 3x3 convolution, most of which reads enlarged features: computed before they are enlarged.

Such a convolution is nine matrix products over channels, one a tap, whose results are shifted and added. Products over
channels and bilinear enlarging, along rows and along columns, commute. So the nine products are taken of the small
features, which have a sixteenth of the pixels; shifting, adding and enlarging are one matrix along each axis. The
results are the same but for rounding.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers

from keras_crosscoop.export.rewriting import copied, rewritten
from keras_crosscoop.keras_internals import producer
from keras_crosscoop.layers import ResizeLike

_TAPS = 3  # of the kernel, along each axis


def enlarged_last(model: keras.Model) -> keras.Model:
    """A copy of a model whose 3x3 convolutions of [enlarged features, others] are `UpsampledConv2D` of the former.

    Args:
        model: as of `rewriting.rewritten`.
    """

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if not (isinstance(operation, layers.Conv2D) and _is_plain(operation)):
            return None
        joined = producer(arguments[0])
        if not isinstance(joined, layers.Concatenate) or len(joined.input) != 2:
            return None
        enlarged, others = joined.input
        if not isinstance(producer(enlarged), ResizeLike):
            return None
        features, like = producer(enlarged).input
        kernel, *bias = operation.get_weights()
        channels = features.shape[-1]
        upsampled = UpsampledConv2D(operation.filters, name=f"{operation.name}_upsampled")
        part = upsampled(features, like)
        upsampled.set_weights([kernel[:, :, :channels]])
        other_part = copied(operation, weights=[kernel[:, :, channels:], *bias])(others)
        return layers.Add(name=f"{operation.name}_sum")([part, other_part])

    return rewritten(model, replace, model.input_shape[1:])


def _is_plain(convolution: layers.Conv2D) -> bool:
    same = convolution.padding == "same" and convolution.kernel_size == (_TAPS, _TAPS)
    linear = convolution.activation is keras.activations.linear
    return same and linear and convolution.strides == convolution.dilation_rate == (1, 1) and convolution.groups == 1


class UpsampledConv2D(keras.layers.Layer):
    """A 3x3 convolution of what `ResizeLike` makes of features: `(B, h, w, C), (B, H, W, *) -> (B, H, W, filters)`.

    Args:
        filters: channels of the outputs.
    """

    def __init__(self, filters: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, features_shape: tuple[int | None, ...], like_shape: tuple[int | None, ...]) -> None:
        """Makes the kernel, shaped as `Conv2D`'s."""
        self.kernel = self.add_weight(shape=(_TAPS, _TAPS, features_shape[-1], self.filters), name="kernel")

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        batch, height, width, channels = keras.ops.shape(features)
        _, new_height, new_width, _ = keras.ops.shape(like)
        # Of each pixel its part in nine others: (B, h, w, rows of taps, columns of taps, filters)
        kernel = tf.reshape(tf.transpose(self.kernel, [2, 0, 1, 3]), [1, 1, channels, -1])
        parts = tf.nn.conv2d(features, kernel, 1, "VALID")
        parts = tf.reshape(parts, [batch, height, width, _TAPS, _TAPS, self.filters])
        parts = tf.transpose(parts, [0, 3, 1, 4, 2, 5])
        parts = tf.reshape(parts, [batch, _TAPS * height, _TAPS * width, self.filters])
        wide = tf.matmul(_enlarging(width, new_width), parts)
        large = tf.matmul(_enlarging(height, new_height), tf.reshape(wide, [batch, _TAPS * height, -1]))
        return tf.reshape(large, [batch, new_height, new_width, self.filters])

    def compute_output_shape(self, features_shape: tuple, like_shape: tuple) -> tuple[int | None, ...]:
        """The shape that `call` gives for the two shapes."""
        return (*like_shape[:3], self.filters)


def _enlarging(length: Any, new_length: Any) -> tf.Tensor:
    """What enlarges an axis, shifts it and adds three taps: a matrix `(new_length, 3 length)`."""
    enlarging = tf.image.resize(tf.eye(length)[..., None], [new_length, length])[..., 0]
    beyond = tf.pad(enlarging, [[1, 1], [0, 0]])  # where a convolution reads zeros
    return tf.concat([beyond[tap : tap + new_length] for tap in range(_TAPS)], axis=1)
