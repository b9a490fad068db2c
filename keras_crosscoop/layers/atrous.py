"""Atrous convolution on TensorFlow, with a gradient for CPUs.

TensorFlow's forward kernels leave little to gain. Of the backward ones, that for the kernel's gradient takes the zeros
around the image for data: at rate 18 and 17x17 pixels eight of nine taps see nothing else, and without oneDNN it does
not know rates beyond 1 at all. Tap by tap the gradient is nine matrix products of what is really there, and of a 1x1
convolution it is one.
"""

import tensorflow as tf


def convolve(image: tf.Tensor, kernel: tf.Tensor, rates: tuple[int, int]) -> tf.Tensor:
    """`(B, H, W, C), (kh, kw, C, F) -> (B, H, W, F)`, zeros around the image; kh and kw are odd."""

    @tf.custom_gradient
    def forward(image: tf.Tensor, kernel: tf.Tensor) -> tuple:
        def backward(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return _gradients(image, kernel, upstream, rates)

        return tf.nn.conv2d(image, kernel, 1, "SAME", dilations=rates), backward

    return forward(tf.convert_to_tensor(image), tf.convert_to_tensor(kernel))


def _gradients(
    image: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor, rates: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Those of `image` and `kernel`, from that of what came out, `(B, H, W, F)`."""
    _, height, width, channels = tf.unstack(tf.shape(image))
    kernel_height, kernel_width, _, filters = kernel.shape
    of_image, of_kernel = [], []
    for row in range(kernel_height):
        for column in range(kernel_width):
            down, right = (row - kernel_height // 2) * rates[0], (column - kernel_width // 2) * rates[1]
            read, given = _overlap(image, height, width, down, right), _overlap(upstream, height, width, -down, -right)
            flat_read, flat_given = tf.reshape(read, (-1, channels)), tf.reshape(given, (-1, filters))
            of_kernel.append(tf.matmul(flat_read, flat_given, transpose_a=True))
            of_read = tf.matmul(flat_given, kernel[row, column], transpose_b=True)
            of_image.append(_placed(tf.reshape(of_read, tf.shape(read)), height, width, down, right))
    return tf.add_n(of_image), tf.reshape(tf.stack(of_kernel), kernel.shape)


def _overlap(features: tf.Tensor, height: tf.Tensor, width: tf.Tensor, down: int, right: int) -> tf.Tensor:
    """The pixels of `features`, `(B, H, W, C)`, that still lie on it when it is moved back by so many pixels."""
    if down == right == 0:
        return features
    (top, bottom), (left, end) = _span(height, down), _span(width, right)
    return features[:, top:bottom, left:end]


def _placed(overlap: tf.Tensor, height: tf.Tensor, width: tf.Tensor, down: int, right: int) -> tf.Tensor:
    """What `_overlap` took, where it was, between zeros: `(B, H, W, C)`."""
    if down == right == 0:
        return overlap
    (top, bottom), (left, end) = _span(height, down), _span(width, right)
    return tf.pad(overlap, [[0, 0], [top, height - bottom], [left, width - end], [0, 0]])


def _span(size: tf.Tensor, offset: int) -> tuple[tf.Tensor, tf.Tensor]:
    """From which pixel of an axis to before which; both the same where the axis ends before the offset does."""
    return tf.minimum(max(offset, 0), size), tf.maximum(size + min(offset, 0), 0)
