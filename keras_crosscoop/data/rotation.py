"""Random rotations of crops, applied to an image and its label together.

`sample_rotated_crop` draws a rotated crop and the window that contains it. The reader decodes this window only, and
`RotatedCrop.cut` scales and rotates it in one affine transform.

Pillow does this. For an image and a label of 513 pixels, it takes 9 ms of processor time. TensorFlow's
`ImageProjectiveTransformV3`, also as a part of Keras's `RandomRotation`, takes 17 ms (`benchmarks/augmentation.py`).
That layer also keeps the scale, fills image and label with the same value, and draws from a counter.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_crosscoop.data.transforms import MID_GREY
from keras_crosscoop.labels import IGNORE_LABEL

LARGEST_ROTATION = 45  # degrees; quarter turns reach all larger angles


class RotatedCrop(NamedTuple):
    """A rotated square in an image.

    Attributes:
        rows: The rows of a window that contains the square, as far as the image reaches.
        columns: The columns of this window.
        matrix: The first two rows of the affine matrix from positions `(x, y, 1)` in the crop to positions in the
            window. The first pixel of both reaches from 0 to 1.
        size: Height and width of the crop, in pixels.
    """

    rows: slice
    columns: slice
    matrix: tuple[float, float, float, float, float, float]
    size: int

    def cut(self, image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the crops of an image and a label from their windows, and where they lie outside of the image.

        The image is interpolated bilinearly and is mid-grey outside. The label takes the nearest pixel and is void
        outside. `(h, w, 3), (h, w) -> (crop, crop, 3), (crop, crop)`, all uint8, and `(crop, crop)`, bool.
        """
        inside = np.full_like(label, 255)
        return (
            self._transform(image, Image.Resampling.BILINEAR, (MID_GREY,) * 3),
            self._transform(label, Image.Resampling.NEAREST, IGNORE_LABEL),
            self._transform(inside, Image.Resampling.NEAREST, 0) == 0,
        )

    def _transform(self, array: np.ndarray, resampling: Image.Resampling, outside: int | tuple[int, ...]) -> np.ndarray:
        size, affine = (self.size, self.size), Image.Transform.AFFINE
        return np.asarray(Image.fromarray(array).transform(size, affine, self.matrix, resampling, fillcolor=outside))


def sample_rotated_crop(
    image: tuple[int, int],
    draws: Sequence[float],
    degrees: float,
    *,
    crop_size: int,
    scale: tuple[float, float],
    pixel: tuple[int, int] | None = None,
) -> RotatedCrop:
    """Returns a crop of the scaled and rotated image `(H, W)`.

    The draws are those of `sample_crop`: for the scale, the row and the column. The picture turns counter-clockwise by
    `degrees`. A crop whose bounding box fits into the image shows nothing outside of it. A small image lies within the
    largest upright square in the crop, so that it is always seen. Sizes between these two are centred.

    If a pixel `(row, column)` is given, the label of the crop shows it, at a position that is drawn uniformly and
    changed as little as the placement above demands. Next to the border of the image, the crop then shows some outside.
    """
    scale_draw, *position_draws = map(float, draws)
    factor = scale[0] + scale_draw * (scale[1] - scale[0])
    cos, sin = math.cos(math.radians(degrees)) / factor, math.sin(math.radians(degrees)) / factor
    turn = crop_size * np.array([[cos, sin], [-sin, cos]])  # (row, column) in the crop, its side is 1, to the image
    box = np.abs(turn).sum(1)
    upright = (crop_size / factor) ** 2 / box
    middle, free = np.divide(image, 2), np.maximum(image - box, 0) + np.minimum(image - upright, 0)
    offset = np.array(position_draws) - 0.5
    centre = middle + offset * free
    if pixel is not None:
        target = np.add(pixel, 0.5)
        centre = np.clip(target - turn @ offset, middle - np.abs(free) / 2, middle + np.abs(free) / 2)
        place = np.linalg.solve(turn, target - centre)
        shown = (np.clip(np.floor((place + 0.5) * crop_size), 0, crop_size - 1) + 0.5) / crop_size - 0.5
        centre += turn @ (place - shown)  # the crop's nearest pixel shows it
    # One more pixel on each side, for bilinear interpolation
    starts = np.clip(np.floor(centre - box / 2) - 1, 0, None).astype(int)
    stops = np.clip(np.ceil(centre + box / 2) + 1, None, image).astype(int)
    y, x = centre - starts - turn @ (0.5, 0.5)
    rows, columns = (slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
    return RotatedCrop(rows, columns, (cos, -sin, float(x), sin, cos, float(y)), crop_size)


def apply_rotated_crop(
    image: tf.Tensor,
    label: tf.Tensor,
    outside: tf.Tensor,
    *,
    crop_size: int,
    photometric: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Changes the colours of a crop of `RotatedCrop.cut`. Mid-grey outside of the image stays."""
    image = tf.ensure_shape(image, [crop_size, crop_size, 3])
    if photometric is not None:
        changed = tf.cast(tf.round(photometric(tf.cast(image, tf.float32))), tf.uint8)
        image = tf.cond(tf.reduce_any(outside), lambda: tf.where(outside[..., None], image, changed), lambda: changed)
    return image, tf.ensure_shape(label, [crop_size, crop_size])
