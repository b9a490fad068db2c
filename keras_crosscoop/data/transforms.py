"""Random changes for training, made to an image and its label together."""

from typing import NamedTuple

import tensorflow as tf

from keras_crosscoop.labels import VOID

MID_GREY = 128  # what lies around an image that is smaller than its crop, and what contrast turns about

# How far photometric jitter goes: enough for another hour of the day, too little for another colour of the sky.
BRIGHTNESS = 32.0  # of 255, added or taken
CONTRAST = 0.25  # a factor of 1 ± this
SATURATION = 0.25
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look


def augment(
    image: tf.Tensor,
    label: tf.Tensor,
    seed: tf.Tensor,
    *,
    crop_size: int = 513,
    scale: tuple[float, float] = (0.5, 2.0),
    flip: bool = True,
    photometric: bool = True,
) -> tuple[tf.Tensor, tf.Tensor]:
    """A random crop of a randomly scaled pair: `(H, W, 3), (H, W) -> (crop, crop, 3), (crop, crop)`, all uint8.

    Where the scaled image is smaller than the crop, it lies at a random place in it, amid mid-grey in the image and
    void in the label. Pixels of the label are picked, never mixed.

    Args:
        image: RGB, uint8 `(H, W, 3)`.
        label: class ids, 255 void, uint8 `(H, W)`.
        seed: two integers; the same pair, seed and settings always give the same result.
        crop_size: height and width of the result, pixels.
        scale: the least and the greatest factor of the image's size; drawn uniformly.
        flip: mirror left and right in half of all cases.
        photometric: vary brightness, contrast and saturation of the image.
    """
    draw_scale, draw_row, draw_column, draw_flip, *draw_jitter = tf.unstack(tf.random.stateless_uniform([7], seed))
    factor = scale[0] + draw_scale * (scale[1] - scale[0])
    rows = _span(tf.shape(label)[0], factor, crop_size, draw_row)
    columns = _span(tf.shape(label)[1], factor, crop_size, draw_column)

    # Only the window that the crop will show is resized: that costs the same for an image of any size.
    image, label = (whole[rows.start : rows.stop, columns.start : columns.stop] for whole in (image, label[..., None]))
    image = tf.image.resize(image, [rows.size, columns.size], "bilinear")
    label = tf.image.resize(label, [rows.size, columns.size], "nearest")
    if photometric:
        image = _jitter(image, *draw_jitter)
    image = tf.saturate_cast(tf.round(image), tf.uint8)

    padding = [[rows.before, rows.after], [columns.before, columns.after], [0, 0]]
    image = tf.pad(image, padding, constant_values=tf.constant(MID_GREY, tf.uint8))
    label = tf.pad(label, padding, constant_values=tf.constant(VOID, tf.uint8))
    if flip:
        mirror = draw_flip < 0.5
        image, label = (tf.cond(mirror, lambda x=x: tf.reverse(x, [1]), lambda x=x: x) for x in (image, label))
    return tf.ensure_shape(image, [crop_size, crop_size, 3]), tf.ensure_shape(label[..., 0], [crop_size, crop_size])


class _Span(NamedTuple):
    """One axis of a crop: the source pixels `start:stop`, resized to `size`, with padding `before` and `after`."""

    start: tf.Tensor
    stop: tf.Tensor
    size: tf.Tensor
    before: tf.Tensor
    after: tf.Tensor


def _span(length: tf.Tensor, factor: tf.Tensor, crop: int, draw: tf.Tensor) -> _Span:
    """Where on an axis of `length` pixels, scaled by `factor`, a crop lies.

    Either the crop has room to move in the image or the image in the crop, so one draw from [0, 1) places both.
    """
    source = tf.cast(length, tf.float32)
    window = tf.minimum(source, tf.math.ceil(crop / factor))
    size = tf.clip_by_value(tf.round(window * factor), 1, crop)
    start = tf.floor(draw * (source - window + 1))
    before = tf.floor(draw * (crop - size + 1))
    return _Span(*(tf.cast(edge, tf.int32) for edge in (start, start + window, size, before, crop - size - before)))


def _jitter(image: tf.Tensor, brightness: tf.Tensor, contrast: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """The image, float `(h, w, 3)`, in another light. Each draw is from [0, 1), with one half for no change.

    The three changes are linear in the colour, so that all of them together are one product with a 3x3 matrix.
    """
    brightness = BRIGHTNESS * (2 * brightness - 1)
    contrast = 1 + CONTRAST * (2 * contrast - 1)
    saturation = 1 + SATURATION * (2 * saturation - 1)
    to_grey = tf.constant([[weight] * 3 for weight in LUMA])
    matrix = contrast * (saturation * tf.eye(3) + (1 - saturation) * to_grey)
    return tf.tensordot(image, matrix, 1) + ((1 - contrast) * MID_GREY + brightness)
