"""What evaluation counts, image by image: every figure follows from these integers."""

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
import tensorflow as tf

from keras_crosscoop.evaluation.boundaries import boundary_matches
from keras_crosscoop.labels import IGNORE_LABEL, check_labels
from keras_crosscoop.models.inference import Inference, with_ensemble

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

    Raises:
        InputError: a label is no class of the model's.
    """
    model = inference.model
    check_labels(labels[None], model.num_classes, image[None])
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
    return Counts(*counted, boundary_matches(labels, found.classes, num_classes, tolerance))


@cache
def _counter(networks: int, num_classes: int) -> tf.types.experimental.PolymorphicFunction:
    strip = tf.TensorSpec([networks, None, None, num_classes], tf.float32)
    return tf.function(_count, input_signature=[strip, tf.TensorSpec([None, None], tf.uint8)])


def _count(probabilities: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """Of a strip `(S, h, W, C)`: class ids, confidence bins, and the first three fields of `Counts`."""
    of_outputs = with_ensemble(tf.unstack(probabilities))
    outputs, num_classes = len(of_outputs), probabilities.shape[3]
    classes = tf.stack([tf.argmax(each, axis=-1, output_type=tf.int32) for each in of_outputs])
    confidence = tf.stack([tf.reduce_max(each, axis=-1) for each in of_outputs])
    bins = tf.minimum(tf.cast(confidence * BINS, tf.int32), BINS - 1)
    labels = tf.cast(labels, tf.int32)[None]
    right = tf.equal(classes, labels)
    output = tf.range(outputs)[:, None, None]

    # Void pixels are counted in one more row, or bin, which is cut off again.
    void = tf.equal(labels, IGNORE_LABEL)
    cells = (output * (num_classes + 1) + tf.where(void, num_classes, labels)) * num_classes + classes
    confusion = _counted(cells, outputs * (num_classes + 1) * num_classes)
    places = output * (BINS + 1) + tf.where(void, BINS, bins)
    calibration = [_counted(places, outputs * (BINS + 1), each) for each in (None, right, confidence * CERTAIN)]
    if outputs == 1:
        disagreement = tf.zeros([4], tf.int64)
    else:
        differ = tf.not_equal(classes[:1], classes[1:2]) & ~void
        shown = [differ, *(differ & right[number] for number in range(3))]
        disagreement = tf.stack([tf.math.count_nonzero(each) for each in shown])
    return (
        tf.cast(classes, tf.uint8),
        tf.cast(bins[-1], tf.uint8),
        tf.reshape(confusion, [outputs, num_classes + 1, num_classes])[:, :num_classes],
        tf.reshape(tf.stack(calibration, axis=-1), [outputs, BINS + 1, 3])[:, :BINS],
        disagreement,
    )


def _counted(places: tf.Tensor, length: int, numbers: tf.Tensor | None = None) -> tf.Tensor:
    """How often each place occurs, or the sum of the numbers there, which are rounded: integers, `(length,)`."""
    if numbers is not None:  # whole ones, so exact in any order
        numbers = tf.round(tf.reshape(tf.cast(numbers, tf.float64), [-1]))
    return tf.cast(tf.math.bincount(tf.reshape(places, [-1]), numbers, length, dtype=tf.int64), tf.int64)
