"""Atrous (dilated) convolution and max pooling."""

from functools import cache
from typing import Any

import keras
from keras import KerasTensor, ops

from keras_crosscoop.backend import tf


@keras.saving.register_keras_serializable("keras_crosscoop")
class AtrousConv2D(keras.layers.Conv2D):
    """Computes a `Conv2D` whose dilation runs natively on TensorFlow: `(B, H, W, C) -> (B, H', W', filters)`.

    Keras lowers a dilated convolution to space-to-batch on TensorFlow, which takes up to 27 times as long as the
    convolution itself (`benchmarks/paper_pair.py`). Arguments, weights, results and configuration are those of
    `keras.layers.Conv2D`. In training on CPUs the gradient is computed tap by tap (see `_convolve`).

    Example:
        >>> layer = AtrousConv2D(8, 3, padding="same", dilation_rate=6)
        >>> layer(np.ones((1, 33, 33, 4))).shape
        TensorShape([1, 33, 33, 8])
    """

    _training = False

    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        """See `keras.layers.Conv2D.call`."""
        self._training = training is True  # Keras does not pass it on to `convolution_op`
        return super().call(inputs)

    def convolution_op(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        """Convolves without bias and activation, see `keras.layers.Conv2D.convolution_op`."""
        if tf is None or self.data_format != "channels_last" or self.groups != 1:
            return super().convolution_op(inputs, kernel)
        if self._training and self._own_gradient_is_faster and not _gpus():
            if inputs.dtype in (tf.float32, tf.float64):  # bfloat16 would lose digits in the sum of nine products
                return _convolve(inputs, kernel, self.dilation_rate)
            if inputs.dtype == tf.float16:  # CPUs have no kernel for its gradient at rates above 1
                outputs = _convolve(tf.cast(inputs, "float32"), tf.cast(kernel, "float32"), self.dilation_rate)
                return tf.cast(outputs, inputs.dtype)
        return tf.nn.conv2d(inputs, kernel, self.strides, self.padding.upper(), dilations=self.dilation_rate)

    @property
    def _own_gradient_is_faster(self) -> bool:
        """Whether `_convolve` supports the layer and is faster, as it is for dilated kernels and 1x1 kernels."""
        centred = self.strides == (1, 1) and self.padding == "same" and all(size % 2 for size in self.kernel_size)
        return centred and (max(self.dilation_rate) > 1 or max(self.kernel_size) == 1)


@cache
def _gpus() -> list:
    return tf.config.list_logical_devices("GPU")


@keras.saving.register_keras_serializable("keras_crosscoop")
class AtrousMaxPooling2D(keras.layers.Layer):
    """Computes dilated max pooling at every pixel, which Keras lacks: `(B, H, W, C) -> (B, H, W, C)`.

    Each output is the maximum of `pool_size` x `pool_size` pixels, `dilation_rate` apart, from its own position down
    and to the right. Pixels beyond the edge are ignored. Every `strides`-th output equals
    `MaxPooling2D(pool_size, strides, "same")` on sizes that are multiples of the stride.

    Args:
        pool_size: Height and width of the window, in pixels.
        dilation_rate: Distance between two pixels of the window.
        **kwargs: Further arguments of `keras.layers.Layer`.

    Example:
        >>> image = np.array([[1, 5, 2], [3, 4, 0], [9, 0, 0]], "float32")[None, :, :, None]
        >>> np.asarray(AtrousMaxPooling2D(2)(image))[0, :, :, 0]
        array([[5., 5., 2.],
               [9., 4., 0.],
               [9., 0., 0.]], dtype=float32)
    """

    def __init__(self, pool_size: int, dilation_rate: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_size = pool_size
        self.dilation_rate = dilation_rate

    def call(self, features: KerasTensor) -> KerasTensor:
        """See the class."""
        shifts = [step * self.dilation_rate for step in range(1, self.pool_size)]
        # Where the neighbour would lie beyond the edge, the pixel itself is used. Padding with the lowest float would
        # spoil int8 quantisation, whose range would have to include that number.
        rows = features
        for shift in shifts:
            rows = ops.maximum(rows, ops.concatenate([features[:, shift:], features[:, -shift:]], axis=1))
        pooled = rows
        for shift in shifts:
            pooled = ops.maximum(pooled, ops.concatenate([rows[:, :, shift:], rows[:, :, -shift:]], axis=2))
        return pooled

    def compute_output_shape(self, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Returns the shape of the outputs."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return super().get_config() | {"pool_size": self.pool_size, "dilation_rate": self.dilation_rate}


def _convolve(image: Any, kernel: Any, rates: tuple[int, int]) -> Any:
    """Convolves with zero padding and a gradient for CPUs: `(B, H, W, C), (kh, kw, C, F) -> (B, H, W, F)`, kh, kw odd.

    TensorFlow's kernel gradient also multiplies the zeros around the image: at rate 18 and 17x17 pixels, eight of nine
    taps read only zeros. Without oneDNN it supports no rates above 1. This gradient takes one matrix product per tap,
    over the pixels inside the image.
    """

    @tf.custom_gradient
    def forward(image: tf.Tensor, kernel: tf.Tensor) -> tuple:
        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _gradients(image, kernel, upstream, rates)

        return tf.nn.conv2d(image, kernel, 1, "SAME", dilations=rates), backward

    return forward(tf.convert_to_tensor(image), tf.convert_to_tensor(kernel))


def _gradients(image: Any, kernel: Any, upstream: Any, rates: tuple[int, int]) -> tuple[Any, Any]:
    """Returns the gradients of `image` and `kernel` from the gradient of the outputs, `(B, H, W, F)`."""
    _, height, width, channels = tf.unstack(tf.shape(image))
    kernel_height, kernel_width, _, filters = kernel.shape
    image_gradients, kernel_gradients = [], []
    for row in range(kernel_height):
        for column in range(kernel_width):
            down, right = (row - kernel_height // 2) * rates[0], (column - kernel_width // 2) * rates[1]
            (top, bottom), (left, end) = _span(height, down), _span(width, right)
            inputs, outputs = image, upstream
            if down or right:
                inputs = image[:, top:bottom, left:end]
                outputs = upstream[:, height - bottom : height - top, width - end : width - left]
            flat_inputs, flat_outputs = tf.reshape(inputs, (-1, channels)), tf.reshape(outputs, (-1, filters))
            kernel_gradients.append(tf.matmul(flat_inputs, flat_outputs, transpose_a=True))
            gradient = tf.reshape(tf.matmul(flat_outputs, kernel[row, column], transpose_b=True), tf.shape(inputs))
            if down or right:
                gradient = tf.pad(gradient, [[0, 0], [top, height - bottom], [left, width - end], [0, 0]])
            image_gradients.append(gradient)
    return tf.add_n(image_gradients), tf.reshape(tf.stack(kernel_gradients), kernel.shape)


def _span(size: Any, offset: int) -> tuple[Any, Any]:
    """Returns the start and end of the pixels that an axis and its copy, shifted by `-offset`, have in common."""
    return tf.minimum(max(offset, 0), size), tf.maximum(size + min(offset, 0), 0)
