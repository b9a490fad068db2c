"""Mixing of two training samples: parts of the second one replace parts of the first one, in image and label alike.

Keras's layer `CutMix` pastes among the samples of a batch, so a sample would depend on the batch size and the devices,
and it also pastes void pixels.
"""

from collections.abc import Callable
from typing import Literal

import tensorflow as tf

from keras_crosscoop.labels import IGNORE_LABEL

Mix = Literal["none", "cutmix", "classmix"]
Sample = tuple[tf.Tensor, tf.Tensor]  # image (H, W, 3) and label (H, W), both uint8

MIX_PROBABILITY = 0.5


def mix_samples(kind: Mix, first: Sample, second: Sample, seed: tf.Tensor) -> Sample:
    """Pastes pixels of the second sample into the first one. Void pixels are never pasted.

    Args:
        kind: "cutmix" or "classmix".
        first: The image `(H, W, 3)` and label `(H, W)` of the first sample, both uint8.
        second: Those of the second sample.
        seed: Two integers, on which the choice of pixels depends.
    """
    (image, label), (second_image, second_label) = first, second
    pasted = _MASKS[kind](second_label, seed) & (second_label != IGNORE_LABEL)
    return tf.where(pasted[..., None], second_image, image), tf.where(pasted, second_label, label)


def _box(label: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the mask of a random box: `(H, W) -> (H, W)`, bool.

    The box has the proportions of the image. The share of its area and the position of its centre are uniform, and it
    is clipped at the border.

    Reference: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features", ICCV
    2019, section 3.1, with lambda from Beta(1, 1).
    """
    area, *centre = tf.unstack(tf.random.stateless_uniform([3], seed))
    rows, columns = (
        tf.abs(tf.range(length, dtype=tf.float32) + 0.5 - draw * length) < tf.sqrt(area) * length / 2
        for length, draw in zip(label.shape, centre, strict=True)
    )
    return rows[:, None] & columns


def _classes(label: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the mask of a random half of the classes in a label, rounded up: `(H, W) -> (H, W)`, bool.

    Reference: Olsson et al., "ClassMix: Segmentation-Based Data Augmentation for Semi-Supervised Learning", WACV 2021,
    section 3.1.
    """
    ids = tf.cast(label, tf.int32)
    present = tf.math.bincount(tf.reshape(ids, [-1]), minlength=256, maxlength=256)[:IGNORE_LABEL] > 0
    half = (tf.math.count_nonzero(present) + 1) // 2
    ranks = tf.where(present, tf.random.stateless_uniform([IGNORE_LABEL], seed), 1.0)  # absent classes come last
    chosen = ranks < tf.sort(ranks)[half]
    return tf.gather(tf.concat([chosen, [False]], 0), ids)


_MASKS: dict[Mix, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]] = {"cutmix": _box, "classmix": _classes}
