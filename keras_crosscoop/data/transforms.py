"""Random crops, scales and orientations, applied to an image and its label together.

`sample_crop` draws a window. The reader then decodes this window only, and `apply_crop` resizes and pads it. The cost
therefore depends on the crop size and not on the size of the image.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.labels import IGNORE_LABEL

Orientation = Literal["upright", "any"]

MID_GREY = 128  # padding of images that are smaller than the crop, and the fixed point of changes of contrast

CENTRE = (0.0, 0.5, 0.5)  # the draws for a centre crop at the smallest scale


class Span(NamedTuple):
    """One axis of a crop."""

    source: slice  # of the pixels of the image
    target: tuple[int, int, int]  # the size to which they are resized, and the padding before and after them


def sample_crop(
    image: tuple[int, int],
    draws: Sequence[float],
    *,
    crop_size: int,
    scale: tuple[float, float],
    pixel: tuple[int, int] | None = None,
) -> tuple[Span, Span]:
    """Returns the rows and columns of an image `(H, W)` that a square crop of the scaled image contains.

    The draws are three numbers in [0, 1): for the scale, uniform between the smallest and the largest factor, the row
    and the column. A scaled image that is smaller than the crop gets a random position within the crop.

    If a pixel `(row, column)` is given, the window contains it. It is drawn among the windows whose resized label still
    holds the pixel; only if there are none, among all windows that contain the pixel.
    """
    scale_draw, row_draw, column_draw = map(float, draws)
    factor = scale[0] + scale_draw * (scale[1] - scale[0])
    row, column = pixel or (None, None)
    return _span(image[0], factor, crop_size, row_draw, row), _span(image[1], factor, crop_size, column_draw, column)


def _span(length: int, factor: float, crop: int, draw: float, pixel: int | None = None) -> Span:
    """Places the crop within the image, or a smaller image within the crop; only one of them uses `draw`."""
    window = min(length, math.ceil(crop / factor))
    size = min(max(round(window * factor), 1), crop)
    starts = range(length - window + 1) if pixel is None else _starts_around(pixel, length, window, size)
    start = int(starts[int(draw * len(starts))])
    before = int(draw * (crop - size + 1))
    return Span(slice(start, start + window), (size, before, crop - size - before))


def _starts_around(pixel: int, length: int, window: int, size: int) -> Sequence[int]:
    """Returns the starts of windows that hold a pixel after `_nearest`, or else of all windows that contain it."""
    kept = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * (np.float32(window) / np.float32(size))
    starts = pixel - np.unique(np.minimum(kept.astype(np.int32), window - 1))
    starts = starts[(starts >= 0) & (starts <= length - window)]
    return starts if len(starts) else range(max(pixel - window + 1, 0), min(pixel, length - window) + 1)


def apply_crop(
    image: tf.Tensor,
    label: tf.Tensor,
    rows: tf.Tensor,
    columns: tf.Tensor,
    *,
    crop_size: int,
    photometric: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Turns a decoded window into a crop: `(h, w, 3), (h, w) -> (crop, crop, 3), (crop, crop)`, all uint8.

    The image is resized bilinearly and padded with mid-grey. The label is resized by nearest neighbours and padded with
    void. `rows` and `columns` are targets of spans. `photometric` changes the resized image, float in [0, 255].
    """
    (height, above, below), (width, left, right) = tf.unstack(rows), tf.unstack(columns)

    image = tf.image.resize(image[None], [height, width])
    image = tf.reshape(image, [height, width, 3])
    if photometric is not None:
        image = photometric(image)
    image = tf.cast(tf.round(image), tf.uint8)
    label = tf.transpose(_nearest(tf.transpose(_nearest(label, height)), width))

    # A tensor of two axes is padded three times as fast as one of three.
    image = tf.reshape(image, [height, 3 * width])
    image = tf.pad(image, [[above, below], [3 * left, 3 * right]], constant_values=tf.constant(MID_GREY, tf.uint8))
    label = tf.pad(label, [[above, below], [left, right]], constant_values=tf.constant(IGNORE_LABEL, tf.uint8))
    return tf.reshape(image, [crop_size, crop_size, 3]), tf.reshape(label, [crop_size, crop_size])


def orient(
    image: tf.Tensor, label: tf.Tensor, *, mirror: tf.Tensor | None = None, quarter_turns: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """Swaps left and right if `mirror` is true, then turns a crop counter-clockwise by a number of quarter turns.

    Together, they reach the eight symmetries of the square. None means that a crop is never mirrored or turned.
    """
    crop = image, label
    if mirror is not None:
        crop = tf.cond(mirror, lambda: (tf.reverse(image, [1]), tf.reverse(label, [1])), lambda: (image, label))
    if quarter_turns is not None:
        mirrored, mirrored_label = crop
        turned, turned_label = (tf.image.rot90(x, quarter_turns) for x in (mirrored, mirrored_label[..., None]))
        crop = tf.ensure_shape(turned, image.shape), tf.ensure_shape(turned_label[..., 0], label.shape)
    return crop


def _nearest(label: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Resizes the first axis by nearest neighbours.

    Two gathers of whole rows and two transpositions take a sixth of the time of `tf.image.resize`.
    """
    length = tf.shape(label)[0]
    centres = (tf.cast(tf.range(size), tf.float32) + 0.5) * (tf.cast(length, tf.float32) / tf.cast(size, tf.float32))
    return tf.gather(label, tf.minimum(tf.cast(centres, tf.int32), length - 1))
