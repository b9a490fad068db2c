"""Padding, cropping and resizing to sizes that are known only at run time."""

from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.backend import tf

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("keras_crosscoop")
class PadToMultiple(keras.layers.Layer):
    """Pads images below and to the right to multiples of a size: `(B, H, W, C) -> (B, H', W', C)`.

    Networks can be connected only where their feature maps have equal sizes. Backbones round odd sizes differently
    (some up, some down), but have equal sizes for multiples of the output stride.

    Args:
        multiple: The padded height and width are multiples of this number of pixels.
        value: The value of the new pixels; by default the middle of [0, 255], which backbones normalise to about zero.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Example:
        >>> PadToMultiple(16)(np.zeros((1, 30, 33, 3))).shape
        TensorShape([1, 32, 48, 3])
    """

    def __init__(self, multiple: int, value: float = 127.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple
        self.value = value

    def call(self, image: KerasTensor) -> KerasTensor:
        """See the class."""
        _, height, width, _ = ops.shape(image)
        # ONNX defines remainders of negative numbers differently, so not `-height % multiple`.
        below, right = (self.multiple - 1 - (length - 1) % self.multiple for length in (height, width))
        return ops.pad(image, [[0, 0], [0, below], [0, right], [0, 0]], constant_values=self.value)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """Returns the shape of the padded images."""
        batch, *size, channels = shape
        return (batch, *(None if length is None else length + -length % self.multiple for length in size), channels)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"multiple": self.multiple, "value": self.value}


class _SizeOfAnother(keras.layers.Layer):
    """A layer whose outputs have the height and width of its second input."""

    def compute_output_shape(self, features_shape: Shape, like_shape: Shape) -> Shape:
        """Returns the shape of the outputs."""
        return (features_shape[0], *like_shape[1:3], features_shape[3])


@keras.saving.register_keras_serializable("keras_crosscoop")
class ResizeLike(_SizeOfAnother):
    """Resizes features bilinearly to another tensor's size: `(B, h, w, C), (B, H, W, *) -> (B, H, W, C)`.

    It is a layer because `keras.ops.image.resize` cannot be traced on TensorFlow with a size known only at run time
    (since Keras 3.14, which compares that size with 0).

    Example:
        >>> ResizeLike()(np.zeros((1, 4, 4, 8)), np.zeros((1, 30, 33, 3))).shape
        TensorShape([1, 30, 33, 8])
    """

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        size = ops.shape(like)[1:3]
        exact = ops.cast(features, "float32")  # as TensorFlow does, so that all backends give the same results
        if tf is None:
            resized = ops.image.resize(exact, size, "bilinear", data_format="channels_last")
            return ops.cast(resized, features.dtype)
        resized = ops.cast(tf.image.resize(exact, size, "bilinear"), features.dtype)
        return tf.ensure_shape(resized, self.compute_output_shape(features.shape, like.shape))


@keras.saving.register_keras_serializable("keras_crosscoop")
class CropLike(_SizeOfAnother):
    """Removes the pixels that `PadToMultiple` added: `(B, H', W', C), (B, H, W, *) -> (B, H, W, C)`.

    Example:
        >>> CropLike()(np.zeros((1, 32, 48, 8)), np.zeros((1, 30, 33, 3))).shape
        TensorShape([1, 30, 33, 8])
    """

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        _, height, width, _ = ops.shape(like)
        return features[:, :height, :width, :]
