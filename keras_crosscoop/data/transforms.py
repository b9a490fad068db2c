"""Random changes for training, made to an image and its label together.

First a place is drawn (`place`), then only what it shows of the files is decoded, then that is drawn anew (`render`):
it costs the same for an image of any size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from keras_crosscoop.labels import IGNORE_LABEL

MID_GREY = 128  # what lies around an image that is smaller than its crop, and what contrast turns about

# How far photometric jitter goes: enough for another hour of the day, too little for another colour of the sky.
BRIGHTNESS = 32.0  # of 255, added or taken
CONTRAST = 0.25  # a factor of 1 ± this
SATURATION = 0.25
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look

CENTRE = (0.0, 0.5, 0.5)  # the draws that place a crop in the middle, at the least scale


class Span(NamedTuple):
    """One axis of a crop: the source pixels `start:stop`, resized to `size`, with padding `before` and `after`."""

    start: int
    stop: int
    size: int
    before: int
    after: int

    @property
    def source(self) -> slice:
        """The pixels of the source that it shows."""
        return slice(self.start, self.stop)

    @property
    def target(self) -> tuple[int, int, int]:
        """Where they go, as `render` takes it."""
        return self.size, self.before, self.after


def place(
    image: tuple[int, int], draws: Sequence[float], *, crop_size: int, scale: tuple[float, float]
) -> tuple[Span, Span]:
    """Which rows and columns of an image a square crop shows, once the image is scaled.

    Where the scaled image is smaller than the crop, it lies somewhere in it.

    Args:
        image: its height and width.
        draws: three numbers in [0, 1), for the scale, the row and the column.
        crop_size: height and width of the crop, pixels.
        scale: the least and the greatest factor of the image's size, drawn uniformly between.
    """
    of_scale, of_row, of_column = map(float, draws)
    factor = scale[0] + of_scale * (scale[1] - scale[0])
    return _span(image[0], factor, crop_size, of_row), _span(image[1], factor, crop_size, of_column)


def _span(length: int, factor: float, crop: int, draw: float) -> Span:
    """Either the crop has room to move in the image or the image in the crop, so one draw places both."""
    window = min(length, math.ceil(crop / factor))
    size = min(max(round(window * factor), 1), crop)
    start = int(draw * (length - window + 1))
    before = int(draw * (crop - size + 1))
    return Span(start, start + window, size, before, crop - size - before)


def render(
    image: tf.Tensor,
    label: tf.Tensor,
    rows: tf.Tensor,
    columns: tf.Tensor,
    *,
    crop_size: int,
    mirror: tf.Tensor | None = None,
    light: Sequence[tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """The crop that shows a window: `(h, w, 3), (h, w) -> (crop, crop, 3), (crop, crop)`, all uint8.

    Around the window lies mid-grey in the image and void in the label. Pixels of the label are picked, never mixed.

    Args:
        image: RGB, uint8 `(h, w, 3)`.
        label: class ids, 255 void, uint8 `(h, w)`.
        rows: the height that the window is resized to, and the padding above and below.
        columns: the width that it is resized to, and the padding to the left and the right.
        crop_size: height and width of the crop, pixels.
        mirror: whether left and right are swapped; None never does.
        light: three draws from [0, 1), one half for no change: brightness, contrast and saturation of the image.
    """
    (height, above, below), (width, left, right) = tf.unstack(rows), tf.unstack(columns)

    image = tf.image.resize(image[None], [height, width])
    image = tf.reshape(image, [height, width, 3])
    if light is not None:
        image = tf.clip_by_value(_in_light(image, *light), 0, 255)
    image = tf.cast(tf.round(image), tf.uint8)
    label = tf.transpose(_nearest(tf.transpose(_nearest(label, height)), width))

    # A plane is padded three times as fast as a volume.
    image = tf.reshape(image, [height, 3 * width])
    image = tf.pad(image, [[above, below], [3 * left, 3 * right]], constant_values=tf.constant(MID_GREY, tf.uint8))
    label = tf.pad(label, [[above, below], [left, right]], constant_values=tf.constant(IGNORE_LABEL, tf.uint8))
    image, label = tf.reshape(image, [crop_size, crop_size, 3]), tf.reshape(label, [crop_size, crop_size])
    if mirror is None:
        return image, label
    return tf.cond(mirror, lambda: (tf.reverse(image, [1]), tf.reverse(label, [1])), lambda: (image, label))


def _nearest(label: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes the first axis to the pixels whose centres are nearest.

    Whole rows are picked at once, so two of these and two transpositions take a sixth of `tf.image.resize`'s time.
    """
    length = tf.shape(label)[0]
    centres = (tf.cast(tf.range(size), tf.float32) + 0.5) * (tf.cast(length, tf.float32) / tf.cast(size, tf.float32))
    return tf.gather(label, tf.minimum(tf.cast(centres, tf.int32), length - 1))


def _in_light(image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """The image, float `(h, w, 3)`, in another light. Each draw is from [0, 1), with one half for no change.

    The three changes are linear in the colour, so that all of them together are one product with a 3x3 matrix.
    """
    brightness = BRIGHTNESS * (2 * brightness - 1)
    contrast = 1 + CONTRAST * (2 * contrast - 1)
    saturation = 1 + SATURATION * (2 * saturation - 1)
    to_grey = tf.constant([[weight] * 3 for weight in LUMA])
    matrix = contrast * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
    return tf.tensordot(image, matrix, 1) + ((1 - contrast) * MID_GREY + brightness)
