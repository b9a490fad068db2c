"""Pixel counts of an image, from which all metrics are computed."""

from functools import cache
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_crosscoop.labels import IGNORE_LABEL, check_labels
from keras_crosscoop.metrics import confusion_matrix
from keras_crosscoop.models.inference import Inference, with_ensemble

BINS = 15  # of confidence, of equal width (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)
CONFIDENCE_UNITS = 2**24  # Confidences are summed as integers in these units, so that the order does not matter.


class Counts(NamedTuple):
    """Counts of one image, or their sum over images, for O outputs and C classes. Void pixels are not counted.

    Attributes:
        confusion: Pixels by label (rows) and prediction (columns), integer `(O, C, C)`.
        calibration: For each bin of confidence, the number of pixels, the number of correct pixels, and the sum of
            confidences in units of 1 / `CONFIDENCE_UNITS`, integer `(O, BINS, 3)`.
        disagreement: The number of pixels on which two networks differ, and how many of these top, bottom and ensemble
            predict correctly, integer `(4,)`; zeros for a single network.
        boundaries: The result of `boundary_matches`, integer `(O, C, 4)`.
    """

    confusion: np.ndarray
    calibration: np.ndarray
    disagreement: np.ndarray
    boundaries: np.ndarray | int = 0


class Segmentation(NamedTuple):
    """Predictions for an image."""

    classes: np.ndarray  # class ids of every output, uint8 (O, H, W)
    confidence_bins: np.ndarray  # the last output's confidence, as the number of its bin, uint8 (H, W)


def segment_and_count(inference: Inference, image: np.ndarray, labels: np.ndarray) -> tuple[Segmentation, Counts]:
    """Segments an image, uint8 `(H, W, 3)`, and counts its pixels; `boundaries` is left to `boundary_matches`.

    Raises:
        InputError: A label is not a class of the model.
    """
    model = inference.model
    check_labels(labels[None], model.num_classes, image[None])
    count_strip = _strip_counter(len(model.sides), model.num_classes)
    classes, bins, counts, row = [], [], [], 0
    for strip in inference.strips(image):
        rows = slice(row, row := row + strip.shape[1])
        strip_classes, strip_bins, *strip_counts = (tensor.numpy() for tensor in count_strip(strip, labels[rows]))
        classes.append(strip_classes)
        bins.append(strip_bins)
        counts.append(strip_counts)
    segmentation = Segmentation(np.concatenate(classes, axis=1), np.concatenate(bins))
    return segmentation, Counts(*(sum(arrays) for arrays in zip(*counts, strict=True)))


@cache
def _strip_counter(networks: int, num_classes: int) -> tf.types.experimental.PolymorphicFunction:
    strip = tf.TensorSpec([networks, None, None, num_classes], tf.float32)
    return tf.function(_count_strip, input_signature=[strip, tf.TensorSpec([None, None], tf.uint8)])


def _count_strip(probabilities: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Returns the class ids, confidence bins, confusion, calibration and disagreement of a strip `(S, h, W, C)`."""
    outputs = with_ensemble(tf.unstack(probabilities))
    num_outputs, num_classes = len(outputs), probabilities.shape[3]
    classes = tf.stack([tf.argmax(output, axis=-1, output_type=tf.int32) for output in outputs])
    confidence = tf.stack([tf.reduce_max(output, axis=-1) for output in outputs])
    bins = tf.minimum(tf.cast(confidence * BINS, tf.int32), BINS - 1)
    labels = tf.cast(labels, tf.int32)[None]
    correct = tf.equal(classes, labels)
    output = tf.range(num_outputs)[:, None, None]

    confusion = [confusion_matrix(labels[0], predictions, num_classes) for predictions in tf.unstack(classes)]
    void = tf.equal(labels, IGNORE_LABEL)  # counted in an additional bin, which is then cut off
    bins_of_outputs = output * (BINS + 1) + tf.where(void, BINS, bins)
    calibration = [
        _bincount(bins_of_outputs, num_outputs * (BINS + 1), weights)
        for weights in (None, correct, confidence * CONFIDENCE_UNITS)
    ]
    disagreement = tf.zeros([4], tf.int64)
    if num_outputs > 1:
        different = tf.not_equal(classes[:1], classes[1:2]) & ~void
        masks = [different, *(different & correct[number] for number in range(3))]
        disagreement = tf.stack([tf.math.count_nonzero(mask) for mask in masks])
    return (
        tf.cast(classes, tf.uint8),
        tf.cast(bins[-1], tf.uint8),
        tf.cast(confusion, tf.int64),
        tf.reshape(tf.stack(calibration, axis=-1), [num_outputs, BINS + 1, 3])[:, :BINS],
        disagreement,
    )


def _bincount(indices: tf.Tensor, length: int, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Counts each index, or sums its weights, rounded to integers so that their order does not matter: `(length,)`."""
    if weights is not None:
        weights = tf.round(tf.reshape(tf.cast(weights, tf.float64), [-1]))
    return tf.cast(tf.math.bincount(tf.reshape(indices, [-1]), weights, length, dtype=tf.int64), tf.int64)
