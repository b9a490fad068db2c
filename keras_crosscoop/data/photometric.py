"""Photometric augmentation: random changes of the colours, sharpness and noise of an image.

Images are float `(h, w, 3)` in [0, 255]. All changes depend on their arguments alone, as samples of the pipeline must.
Keras's layers draw from a counter instead. They also take longer for an image of 513 pixels
(`benchmarks/augmentation.py`): `RandomHue` takes 11 ms of processor time, while hue is a part of the colour matrix
here; `RandomGaussianBlur` takes 8 ms against 4 ms here, and darkens the border.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import tensorflow as tf

from keras_crosscoop.data.transforms import MID_GREY

Photometric = Literal["none", "weak", "strong"]

# Largest photometric changes: as between two times of day, but not enough to change the hue of the sky.
BRIGHTNESS = 32.0  # of 255, added or subtracted
CONTRAST = 0.25  # a factor of 1 ± this value
SATURATION = 0.25
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the brightness of red, green and blue


class Change(NamedTuple):
    """A change that a strongly augmented image undergoes with a probability, by a uniformly drawn amount."""

    probability: float
    smallest: float
    largest: float

    def apply(
        self, value: tf.Tensor, draws: tf.Tensor, change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    ) -> tf.Tensor:
        """Returns `change(value, amount)` or the value itself, by two draws in [0, 1)."""
        amount = self.smallest + draws[1] * (self.largest - self.smallest)
        return tf.cond(draws[0] < self.probability, lambda: change(value, amount), lambda: value)


# nnU-Net: the code of Isensee et al., Nature Methods 2021. ImageNet-C: Hendrycks and Dietterich, ICLR 2019.
BLUR = Change(0.2, 0.5, 1.0)  # standard deviation in pixels; all of nnU-Net
NOISE = Change(0.1, 0.0, 20.4)  # standard deviation, of 255; probability of nnU-Net, up to severity 1 of ImageNet-C
HUE = Change(0.5, -36.0, 36.0)  # degrees; all of SSD (Liu et al., ECCV 2016)
GAMMA = Change(0.3, 0.7, 1.5)  # exponent; all of nnU-Net
JPEG = Change(0.2, 25, 95)  # quality, from severity 1 of ImageNet-C to hardly visible; probability as for blur

BLUR_RADIUS = 3  # pixels: three of the largest standard deviation


def jitter(image: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation, by three draws in [0, 1); 0.5 means no change."""
    matrix, offset = _colour_change(*tf.unstack(draws))
    return tf.clip_by_value(tf.tensordot(image, matrix, 1) + offset, 0, 255)


def distort(image: tf.Tensor, draws: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Applies `jitter`, and each `Change` with its probability, in the order of a camera: lens, sensor, colours, file.

    `draws` are those of `jitter`. `seed` are two integers, for all other random numbers.
    """
    matrix, offset = _colour_change(*tf.unstack(draws))
    blur, noise, hue, gamma, jpeg = tf.unstack(tf.random.stateless_uniform([5, 2], seed))
    image = BLUR.apply(image, blur, blur_image)
    image = NOISE.apply(image, noise, lambda image, deviation: _add_noise(image, deviation, tf.random.fold_in(seed, 0)))
    matrix = HUE.apply(matrix, hue, lambda matrix, degrees: tf.matmul(matrix, _hue_rotation(degrees)))
    image = tf.clip_by_value(tf.tensordot(image, matrix, 1) + offset, 0, 255)
    image = GAMMA.apply(image, gamma, _gamma)
    return JPEG.apply(image, jpeg, _compress)


def _colour_change(brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the 3x3 matrix and the offset that change the colours."""
    brightness = BRIGHTNESS * (2 * brightness - 1)
    contrast = 1 + CONTRAST * (2 * contrast - 1)
    saturation = 1 + SATURATION * (2 * saturation - 1)
    to_grey = tf.constant([[weight] * 3 for weight in LUMA])
    matrix = contrast * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
    return matrix, (1 - contrast) * MID_GREY + brightness


def _hue_rotation(degrees: tf.Tensor) -> tf.Tensor:
    """Returns the matrix that rotates colours about the grey axis, by Rodrigues' formula."""
    angle = degrees * (math.pi / 180)
    cross = tf.constant([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    return tf.cos(angle) * tf.eye(3) + (1 - tf.cos(angle)) / 3 + tf.sin(angle) * cross


def blur_image(image: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Blurs by a Gaussian, first down the columns, then along the rows. The border continues outwards."""
    distances = tf.range(-BLUR_RADIUS, BLUR_RADIUS + 1, dtype=tf.float32)
    kernel = tf.nn.softmax(-0.5 * (distances / deviation) ** 2)
    for axis in (0, 1):
        first, last = (image[:1], image[-1:]) if axis == 0 else (image[:, :1], image[:, -1:])
        image = tf.concat([first] * BLUR_RADIUS + [image] + [last] * BLUR_RADIUS, axis)
        weights = tf.tile(tf.expand_dims(kernel[:, None, None], 1 - axis), [1, 1, 3, 1])
        image = tf.nn.depthwise_conv2d(image[None], weights, [1, 1, 1, 1], "VALID")[0]
    return image


def _add_noise(image: tf.Tensor, deviation: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return image + deviation * tf.random.stateless_normal(tf.shape(image), seed)


def _gamma(image: tf.Tensor, exponent: tf.Tensor) -> tf.Tensor:
    """Raises values in [0, 1] to a power. Exponential and logarithm take a fifth of the time of `tf.pow`."""
    return 255 * tf.exp(exponent * tf.math.log(image / 255))


def _compress(image: tf.Tensor, quality: tf.Tensor) -> tf.Tensor:
    pixels = tf.cast(tf.round(image), tf.uint8)
    return tf.cast(tf.image.adjust_jpeg_quality(pixels, tf.cast(quality, tf.int32)), tf.float32)
