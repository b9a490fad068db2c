"""The figures follow from a confusion matrix that NumPy counts as well, pixel by pixel."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.metrics import Confusion, iou_per_class, mean_iou

RNG = np.random.default_rng(0)


def counted(labels, classes, num_classes):
    matrix = np.zeros((num_classes, num_classes), "int64")
    valid = labels != 255
    np.add.at(matrix, (labels[valid].astype(int), classes[valid].astype(int)), 1)
    return matrix


def ious_by_hand(matrix):
    """Of each class that is in labels."""
    return [matrix[c, c] / (matrix[c].sum() + matrix[:, c].sum() - matrix[c, c]) for c in np.flatnonzero(matrix.sum(1))]


def figures(metric):
    return {name: float(value) for name, value in metric.result().items()}


def assigned(matrix):
    metric = Confusion(len(matrix), name="x")
    metric.matrix.assign(np.asarray(matrix))
    return metric


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_counts_as_numpy_does_over_several_updates(dtype):
    metric, expected = Confusion(5, name="top"), np.zeros((5, 5), "int64")
    for size in ((2, 6, 7), (1, 6, 7), (3, 4, 4)):
        labels = RNG.choice([0, 1, 2, 4, 255], size)
        classes = np.where(RNG.random(size) < 0.6, np.minimum(labels, 4), RNG.integers(0, 5, size))
        metric.update_state(labels.astype(dtype), classes)
        expected += counted(labels, classes, 5)
    np.testing.assert_array_equal(metric.matrix, expected)
    np.testing.assert_allclose(
        [*figures(metric).values()], [np.mean(ious_by_hand(expected)), np.trace(expected) / expected.sum()], rtol=1e-6
    )
    assert list(figures(metric)) == ["top_mean_iou", "top_pixel_accuracy"]


def test_of_four_pixels():
    """Row the label, column the prediction: IoU 1/2 and 1/3, and no label is 2; the fifth pixel is void."""
    metric = Confusion(3, name="x")
    metric.update_state(np.array([[[0, 1, 1, 1, 255]]]), np.array([[[0, 0, 1, 2, 1]]]))
    np.testing.assert_array_equal(metric.matrix, [[1, 0, 0], [1, 1, 1], [0, 0, 0]])
    assert figures(metric) == pytest.approx({"x_mean_iou": (1 / 2 + 1 / 3) / 2, "x_pixel_accuracy": 0.5})


def test_a_class_in_neither_labels_nor_predictions_is_left_out():
    assert figures(assigned([[2, 0, 0], [0, 3, 0], [0, 0, 0]])) == {"x_mean_iou": 1, "x_pixel_accuracy": 1}


def test_a_class_only_predicted_lowers_others_alone():
    assert figures(assigned([[2, 0, 2], [0, 4, 0], [0, 0, 0]])) == {"x_mean_iou": 0.75, "x_pixel_accuracy": 0.75}


@pytest.mark.parametrize("labels", [None, np.full((1, 2, 2), 255)])
def test_of_nothing_there_is_no_figure(labels):
    metric = Confusion(3, name="x")
    if labels is not None:
        metric.update_state(labels, np.zeros_like(labels))
    assert figures(metric) == pytest.approx({"x_mean_iou": np.nan, "x_pixel_accuracy": np.nan}, nan_ok=True)


def test_counts_stay_exact_where_float32_would_stop_counting():
    metric = assigned([[2**24, 0], [0, 2**40]])
    for _ in range(3):
        metric.update_state(np.array([[[0, 1]]]), np.array([[[0, 1]]]))
    np.testing.assert_array_equal(metric.matrix, [[2**24 + 3, 0], [0, 2**40 + 3]])


def test_starts_again_after_a_reset():
    metric = assigned([[1, 2], [3, 4]])
    metric.reset_state()
    metric.update_state(np.array([[[1]]]), np.array([[[1]]]))
    np.testing.assert_array_equal(metric.matrix, [[0, 0], [0, 1]])


def test_is_the_same_when_traced():
    metric = Confusion(3, name="x")
    labels, classes = RNG.choice([0, 1, 2, 255], (2, 5, 5)), RNG.integers(0, 3, (2, 5, 5))
    spec = tf.TensorSpec((None, None, None), tf.int64)
    tf.function(metric.update_state, input_signature=[spec, spec])(labels, classes)
    np.testing.assert_array_equal(metric.matrix, counted(labels, classes, 3))


def test_from_a_configuration():
    metric = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Confusion(7, name="top")))
    assert type(metric) is Confusion
    assert (metric.name, metric.num_classes, metric.matrix.shape) == ("top", 7, (7, 7))


def test_iou_per_class():
    """Class 2 is predicted but never there, class 3 neither; class 4 is there and never predicted."""
    matrix = np.array([[6, 2, 1, 0, 0], [3, 4, 0, 0, 0], [0] * 5, [0] * 5, [2, 0, 0, 0, 0]])
    ious = iou_per_class(matrix)
    np.testing.assert_allclose(ious, [6 / 14, 4 / 9, np.nan, np.nan, 0])
    assert ious.dtype == "float64"
    np.testing.assert_allclose(mean_iou(np.stack([matrix, 0 * matrix])), [(6 / 14 + 4 / 9 + 0) / 3, np.nan])
    huge = iou_per_class(np.array([[2**53 + 1, 0], [1, 2**53 - 1]]))
    np.testing.assert_allclose(huge, [1, 1])
