"""What evaluation counts, image by image: every figure follows from these integers."""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import tensorflow as tf

from keras_crosscoop.evaluation.boundaries import boundary_matches
from keras_crosscoop.evaluation.inference import Inference, with_ensemble
from keras_crosscoop.labels import VOID

BINS = 15  # of confidence, of equal width (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017)
CERTAIN = 2**24  # what confidence 1 counts as: sums of integers are the same in any order


@dataclass(frozen=True)
class Counts:
    """Of one image, or added up over several. There are O outputs, and C classes; void pixels count nowhere.

    Attributes:
        confusion: pixels, row the label, column the prediction, integers `(O, C, C)`.
        calibration: of each bin of confidence: pixels, those that are right, and the sum of confidences in units of
            1 / `CERTAIN`, integers `(O, BINS, 3)`.
        disagreement: pixels where two networks differ; of these, where the first one is right, the second, their
            ensemble: `(4,)` integers, zeros of one network.
        boundaries: see `boundary_matches`, integers `(O, C, 4)`.
    """

    confusion: np.ndarray
    calibration: np.ndarray
    disagreement: np.ndarray
    boundaries: np.ndarray

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


@dataclass(frozen=True)
class Segmented:
    """What the networks made of an image.

    Attributes:
        classes: class ids of every output, uint8 `(O, H, W)`.
        bins: of the last output's confidence, uint8 `(H, W)`.
    """

    classes: np.ndarray
    bins: np.ndarray


def segmented(inference: Inference, image: np.ndarray, labels: np.ndarray) -> tuple[Segmented, list[np.ndarray]]:
    """Segments an image and counts pixels; to be made `Counts` of by `counts`.

    Args:
        inference: how to look at it.
        image: uint8 `(H, W, 3)`.
        labels: class ids and 255 for void, uint8 `(H, W)`.

    Returns:
        The class ids, and the first three fields of `Counts`.
    """
    model = inference.model
    count = _counter(len(model.sides), model.num_classes)
    maps, bins, counted, row = [], [], [], 0
    for strip in inference.strips(image):
        rows = slice(row, row := row + strip.shape[1])
        classes, of_last, *counts = (each.numpy() for each in count(strip, labels[rows]))
        maps.append(classes)
        bins.append(of_last)
        counted.append(counts)
    found = Segmented(np.concatenate(maps, axis=1), np.concatenate(bins))
    return found, [np.sum(each, axis=0) for each in zip(*counted, strict=True)]


def counts(found: Segmented, labels: np.ndarray, counted: list[np.ndarray], tolerance: int) -> Counts:
    """All counts of an image that was `segmented`, with boundaries met within so many pixels."""
    num_classes = counted[0].shape[-1]
    return Counts(*counted, np.stack([boundary_matches(labels, ids, num_classes, tolerance) for ids in found.classes]))


@cache
def _counter(networks: int, num_classes: int) -> tf.types.experimental.PolymorphicFunction:
    strip = tf.TensorSpec([networks, None, None, num_classes], tf.float32)
    return tf.function(_count, input_signature=[strip, tf.TensorSpec([None, None], tf.uint8)])


def _count(probabilities: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Of a strip `(S, h, W, C)`: class ids, confidence bins, and the first three fields of `Counts`."""
    probabilities = with_ensemble(probabilities)
    outputs, num_classes = probabilities.shape[0], probabilities.shape[3]
    classes = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
    confidence = tf.reduce_max(probabilities, axis=-1)
    bins = tf.minimum(tf.cast(confidence * BINS, tf.int32), BINS - 1)
    labels = tf.cast(labels, tf.int32)[None]
    right = tf.equal(classes, labels)
    output = tf.range(outputs)[:, None, None]

    # Void pixels are counted in one more row, or bin, which is cut off again.
    void = tf.equal(labels, VOID)
    cells = (output * (num_classes + 1) + tf.where(void, num_classes, labels)) * num_classes + classes
    confusion = tf.math.bincount(
        tf.reshape(cells, [-1]), minlength=outputs * (num_classes + 1) * num_classes, dtype=tf.int64
    )
    confusion = tf.reshape(confusion, [outputs, num_classes + 1, num_classes])[:, :num_classes]
    places = tf.reshape(output * (BINS + 1) + tf.where(void, BINS, bins), [-1])
    sums = tf.stack(
        [
            tf.math.unsorted_segment_sum(tf.reshape(tf.cast(each, tf.int64), [-1]), places, outputs * (BINS + 1))
            for each in (tf.ones_like(classes), right, tf.round(confidence * CERTAIN))
        ],
        axis=-1,
    )
    calibration = tf.reshape(sums, [outputs, BINS + 1, 3])[:, :BINS]
    if outputs == 1:
        disagreement = tf.zeros([4], tf.int64)
    else:
        differ = tf.not_equal(classes[:1], classes[1:2]) & ~void
        shown = [differ, *(differ & right[number] for number in range(3))]
        disagreement = tf.stack([tf.math.count_nonzero(each) for each in shown])
    return tf.cast(classes, tf.uint8), tf.cast(bins[-1], tf.uint8), confusion, calibration, disagreement
