"""Random crops, scales, flips and photometric jitter, applied to an image and its label together.

`sample_crop` draws a window. The reader then decodes this window only, and `apply_crop` resizes, jitters, pads and
mirrors it. The cost therefore depends on the crop size and not on the size of the image.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_crosscoop.labels import IGNORE_LABEL

MID_GREY = 128  # padding of images that are smaller than the crop, and the fixed point of contrast changes

# Largest photometric changes: as between two times of day, but not enough to change the hue of the sky.
BRIGHTNESS = 32.0  # of 255, added or subtracted
CONTRAST = 0.25  # a factor of 1 ± this value
SATURATION = 0.25
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the brightness of red, green and blue

CENTRE = (0.0, 0.5, 0.5)  # the draws for a centre crop at the smallest scale


class Span(NamedTuple):
    """One axis of a crop."""

    source: slice  # of the pixels of the image
    target: tuple[int, int, int]  # the size to which they are resized, and the padding before and after them


def sample_crop(
    image: tuple[int, int], draws: Sequence[float], *, crop_size: int, scale: tuple[float, float]
) -> tuple[Span, Span]:
    """Returns the rows and columns of an image `(H, W)` that a square crop of the scaled image contains.

    The draws are three numbers in [0, 1): for the scale, uniform between the smallest and the largest factor, the row
    and the column. A scaled image that is smaller than the crop gets a random position within the crop.
    """
    scale_draw, row_draw, column_draw = map(float, draws)
    factor = scale[0] + scale_draw * (scale[1] - scale[0])
    return _span(image[0], factor, crop_size, row_draw), _span(image[1], factor, crop_size, column_draw)


def _span(length: int, factor: float, crop: int, draw: float) -> Span:
    """Places the crop within the image, or a smaller image within the crop; only one of them uses `draw`."""
    window = min(length, math.ceil(crop / factor))
    size = min(max(round(window * factor), 1), crop)
    start = int(draw * (length - window + 1))
    before = int(draw * (crop - size + 1))
    return Span(slice(start, start + window), (size, before, crop - size - before))


def apply_crop(
    image: tf.Tensor,
    label: tf.Tensor,
    rows: tf.Tensor,
    columns: tf.Tensor,
    *,
    crop_size: int,
    mirror: tf.Tensor | None = None,
    photometric: Sequence[tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns a decoded window into a crop: `(h, w, 3), (h, w) -> (crop, crop, 3), (crop, crop)`, all uint8.

    The image is resized bilinearly and padded with mid-grey. The label is resized by nearest neighbours and padded with
    void. `rows` and `columns` are targets of spans. `mirror` swaps left and right. `photometric` gives draws in [0, 1)
    for brightness, contrast and saturation; 0.5 means no change.
    """
    (height, above, below), (width, left, right) = tf.unstack(rows), tf.unstack(columns)

    image = tf.image.resize(image[None], [height, width])
    image = tf.reshape(image, [height, width, 3])
    if photometric is not None:
        image = tf.clip_by_value(_jitter(image, *photometric), 0, 255)
    image = tf.cast(tf.round(image), tf.uint8)
    label = tf.transpose(_nearest(tf.transpose(_nearest(label, height)), width))

    # A tensor of two axes is padded three times as fast as one of three.
    image = tf.reshape(image, [height, 3 * width])
    image = tf.pad(image, [[above, below], [3 * left, 3 * right]], constant_values=tf.constant(MID_GREY, tf.uint8))
    label = tf.pad(label, [[above, below], [left, right]], constant_values=tf.constant(IGNORE_LABEL, tf.uint8))
    image, label = tf.reshape(image, [crop_size, crop_size, 3]), tf.reshape(label, [crop_size, crop_size])
    if mirror is None:
        return image, label
    return tf.cond(mirror, lambda: (tf.reverse(image, [1]), tf.reverse(label, [1])), lambda: (image, label))


def _nearest(label: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes the first axis by nearest neighbours.

    Two gathers of whole rows and two transpositions take a sixth of the time of `tf.image.resize`.
    """
    length = tf.shape(label)[0]
    centres = (tf.cast(tf.range(size), tf.float32) + 0.5) * (tf.cast(length, tf.float32) / tf.cast(size, tf.float32))
    return tf.gather(label, tf.minimum(tf.cast(centres, tf.int32), length - 1))


def _jitter(image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Changes brightness, contrast and saturation of a float image `(h, w, 3)`, in one 3x3 matrix product."""
    brightness = BRIGHTNESS * (2 * brightness - 1)
    contrast = 1 + CONTRAST * (2 * contrast - 1)
    saturation = 1 + SATURATION * (2 * saturation - 1)
    to_grey = tf.constant([[weight] * 3 for weight in LUMA])
    matrix = contrast * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
    return tf.tensordot(image, matrix, 1) + ((1 - contrast) * MID_GREY + brightness)
