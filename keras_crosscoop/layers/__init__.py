"""The few operations that Keras lacks, as layers: everything else in the networks is Keras's own.

TensorFlow has kernels of its own for some of them. Other backends run Keras's operations, to the same results.
"""

from functools import cache
from typing import Any

import keras
from keras import KerasTensor, ops

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    from keras_crosscoop.layers import atrous, batch_normalization
else:
    tf = None

Shape = tuple[int | None, ...]


@keras.saving.register_keras_serializable("keras_crosscoop")
class AtrousConv2D(keras.layers.Conv2D):
    """`Conv2D` whose dilation runs natively on TensorFlow: `(B, H, W, C) -> (B, H', W', filters)`.

    Keras lowers a dilated convolution to space-to-batch there, which costs up to 27 times the convolution itself
    (`benchmarks/paper_pair.py`). Same weights, same results, same configuration as `Conv2D`. Dilated depthwise
    convolutions have no native kernel there and stay Keras's. On CPUs it is trained by a gradient of its own.
    """

    _trains = False

    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        """See `keras.layers.Conv2D.call`."""
        self._trains = training is True  # which Keras does not tell the convolution
        return super().call(inputs)

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """The convolution without bias and activation, see `keras.layers.Conv2D.convolution_op`."""
        plain = self.data_format == "channels_last" and self.groups == 1
        if tf is None or not plain:
            return super().convolution_op(inputs, kernel)
        if self._trains and self._gains_by_products and not _gpus():
            if inputs.dtype in (tf.float32, tf.float64):  # a sum of nine products would lose what halves have left
                return atrous.convolve(inputs, kernel, self.dilation_rate)
            if inputs.dtype == tf.float16:  # whose gradient no kernel of a CPU knows at rates beyond 1
                exact = atrous.convolve(tf.cast(inputs, "float32"), tf.cast(kernel, "float32"), self.dilation_rate)
                return tf.cast(exact, inputs.dtype)
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)

    @property
    def _gains_by_products(self) -> bool:
        """Whether `atrous.convolve` is for it, and faster: kernels that lie apart, or have one pixel."""
        centred = self.strides == (1, 1) and self.padding == "same" and all(size % 2 for size in self.kernel_size)
        return centred and (max(self.dilation_rate) > 1 or max(self.kernel_size) == 1)


@cache
def _gpus() -> list:
    return tf.config.list_logical_devices("GPU")


@keras.saving.register_keras_serializable("keras_crosscoop")
class AtrousMaxPooling2D(keras.layers.Layer):
    """The maximum of k x k pixels, r apart, from each pixel down and right: `(B, H, W, C) -> (B, H, W, C)`.

    What `MaxPooling2D(k, strides, "same")` takes on even sizes, where TensorFlow pads below and to the right alone,
    stands here at every pixel; as there, nothing counts beyond the edge. Keras has no dilated pooling.

    Args:
        pool_size: k, in pixels.
        dilation_rate: r, in pixels.
    """

    def __init__(self, pool_size: int, dilation_rate: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.dilation_rate = dilation_rate

    def call(self, features: KerasTensor) -> KerasTensor:
        """See the class."""
        shifts = [step * self.dilation_rate for step in range(1, self.pool_size)]
        # Where a shift leads beyond the edge each pixel stands in for itself: no padding with the lowest of numbers,
        # which quantisation to integers would have to span.
        rows = features
        for shift in shifts:
            rows = ops.maximum(rows, ops.concatenate([features[:, shift:], features[:, -shift:]], axis=1))
        pooled = rows
        for shift in shifts:
            pooled = ops.maximum(pooled, ops.concatenate([rows[:, :, shift:], rows[:, :, -shift:]], axis=2))
        return pooled

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape that `call` gives for `shape`."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"pool_size": self.pool_size, "dilation_rate": self.dilation_rate}


@keras.saving.register_keras_serializable("keras_crosscoop")
class BatchNormalization(keras.layers.BatchNormalization):
    """`BatchNormalization` that trains with TensorFlow's fused kernels: `(B, H, W, C) -> (B, H, W, C)`.

    Keras composes it of many operations there. Same weights, same results, same configuration, moving averages too;
    `synchronized` may be set at any time before a step is traced.
    """

    def call(self, inputs: KerasTensor, training: bool | None = None, mask: KerasTensor | None = None) -> KerasTensor:
        """See `keras.layers.BatchNormalization.call`."""
        plain = self.scale and self.center and not getattr(self, "renorm", False)
        images = len(inputs.shape) == 4 and self.axis in (-1, 3) and mask is None
        fused = training and self.trainable and plain and images and self.variable_dtype == "float32"
        if tf is None or not fused:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = batch_normalization.normalized(
            inputs, *map(tf.convert_to_tensor, (self.gamma, self.beta)), self.epsilon, self.synchronized
        )
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable("keras_crosscoop")
class Dropout(keras.layers.Dropout):
    """`Dropout` that draws anew on each of several devices: Keras drops the same units of every device's images."""

    def call(self, inputs: KerasTensor, training: bool = False) -> KerasTensor:
        """See `keras.layers.Dropout.call`."""
        replica = tf and tf.distribute.get_replica_context()
        if not (training and 0 < self.rate < 1 and replica and replica.num_replicas_in_sync > 1):
            return super().call(inputs, training=training)
        seed = tf.add(tf.cast(self.seed_generator.next(), "int32"), [replica.replica_id_in_sync_group, 0])
        return tf.nn.experimental.stateless_dropout(inputs, self.rate, seed)


@keras.saving.register_keras_serializable("keras_crosscoop")
class PadToMultiple(keras.layers.Layer):
    """Pads an image below and to the right: `(B, H, W, C) -> (B, H', W', C)`, H' and W' multiples of `multiple`.

    Backbones round odd sizes differently (some up, some down), and networks can only be connected where their feature
    maps agree in size. On multiples of the output stride all of them do.

    Args:
        multiple: what height and width become divisible by, in pixels.
        value: fills the new pixels; the middle of [0, 255] by default, near zero after each backbone's normalisation.
    """

    def __init__(self, multiple: int, value: float = 127.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.multiple = multiple
        self.value = value

    def call(self, image: KerasTensor) -> KerasTensor:
        """See the class."""
        _, height, width, _ = ops.shape(image)
        # Not -height % multiple: remainders of negative numbers are other ones in ONNX.
        below, right = (self.multiple - 1 - (length - 1) % self.multiple for length in (height, width))
        return ops.pad(image, [[0, 0], [0, below], [0, right], [0, 0]], constant_values=self.value)

    def compute_output_shape(self, shape: Shape) -> Shape:
        """The shape that `call` gives for `shape`."""
        batch, *size, channels = shape
        return (batch, *(None if n is None else n + -n % self.multiple for n in size), channels)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return super().get_config() | {"multiple": self.multiple, "value": self.value}


@keras.saving.register_keras_serializable("keras_crosscoop")
class ResizeLike(keras.layers.Layer):
    """Bilinear resizing to another tensor's size: `(B, h, w, C), (B, H, W, *) -> (B, H, W, C)`.

    A layer, because `keras.ops.image.resize` cannot be traced on TensorFlow with a size known only at run time: Keras
    3.13 could, 3.14 and 3.15 compare that size with 0.
    """

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        size = ops.shape(like)[1:3]
        exact = ops.cast(features, "float32")  # as TensorFlow does of itself, and so that all backends agree
        if tf is None:
            resized = ops.image.resize(exact, size, "bilinear", data_format="channels_last")
            return ops.cast(resized, features.dtype)
        resized = ops.cast(tf.image.resize(exact, size, "bilinear"), features.dtype)
        return tf.ensure_shape(resized, self.compute_output_shape(features.shape, like.shape))

    def compute_output_shape(self, features_shape: Shape, like_shape: Shape) -> Shape:
        """The shape that `call` gives for the two shapes."""
        return (features_shape[0], *like_shape[1:3], features_shape[3])


@keras.saving.register_keras_serializable("keras_crosscoop")
class CropLike(keras.layers.Layer):
    """Cuts what `PadToMultiple` added off again: `(B, H', W', C), (B, H, W, *) -> (B, H, W, C)`."""

    def call(self, features: KerasTensor, like: KerasTensor) -> KerasTensor:
        """See the class."""
        _, height, width, _ = ops.shape(like)
        return features[:, :height, :width, :]

    def compute_output_shape(self, features_shape: Shape, like_shape: Shape) -> Shape:
        """The shape that `call` gives for the two shapes."""
        return (features_shape[0], *like_shape[1:3], features_shape[3])
