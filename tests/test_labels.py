"""Labels are class ids or void, one a pixel, or they are refused before a loss or a matrix is made of them."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import refused

from keras_crosscoop.evaluation import counts
from keras_crosscoop.labels import check_labels
from keras_crosscoop.losses import CrossEntropy, Dice
from keras_crosscoop.metrics import Confusion

LOGITS = np.zeros((2, 3, 4, 5), "float32")


def labels(*values, dtype="int64"):
    """Of two images, 3x4, which begin with these values and are 1 elsewhere."""
    array = np.ones((2, 3, 4), dtype)
    array.flat[: len(values)] = values
    return array


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "bool"])
def test_integers_of_any_kind_stay_what_they_are(dtype):
    array = labels(0, 1, 4) if dtype not in ("bool", "int8") else labels(0, 1)
    array = (array if dtype in ("bool", "int8") else np.where(array == 4, 255, array)).astype(dtype)
    checked = check_labels(array, 5, LOGITS)
    assert checked.dtype == "int32"
    np.testing.assert_array_equal(checked, array.astype("int32"))


@pytest.mark.parametrize("value", [5, -1, 254, 256, 2**32, 2**32 + 1, -(2**32)])
def test_a_value_that_is_no_class_is_refused(value):
    """2**32 is 0 in 32 bits, and 5 would be the row of void in a matrix of five classes."""
    message = "Labels must be class ids from 0 to 4, or 255 for void pixels. Received:"
    assert message in refused(check_labels, labels(0, value), 5)
    assert message in refused(Confusion(5, name="x").update_state, labels(0, value), labels())
    for loss in (CrossEntropy(), Dice()):
        assert message in refused(loss, labels(0, value), LOGITS)
    traced = tf.function(lambda array: check_labels(array, 5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be class ids from 0 to 4"):
        traced(tf.constant(labels(0, value)))


def test_the_value_is_told():
    assert refused(check_labels, labels(0, 255, 7, dtype="uint8"), 5).endswith("Received: 7")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            labels()[..., None],
            "Labels must be (B, H, W), one class id per pixel. Take `labels[..., 0]`. Received:",
        ),
        (labels()[0], "Labels must be (B, H, W), one class id per pixel. Received: shape (3, 4)"),
        (
            np.zeros((2, 3, 4, 5), "uint8"),
            "Labels must be (B, H, W), one class id per pixel. Received: shape (2, 3, 4, 5)",
        ),
        (labels(dtype="float32"), "Labels must be integers, one class id per pixel. Received: float32"),
        (labels()[:, :, :1], "Labels must be as large as the predictions, (2, 3, 4). Received: shape (2, 3, 1)"),
        (labels()[:1], "Labels must be as large as the predictions, (2, 3, 4). Received: shape (1, 3, 4)"),
    ],
)
def test_another_shape_or_type_is_refused(array, message):
    """Broadcast against logits, the first would cost something, and something else than it should."""
    assert message in refused(CrossEntropy(), array, LOGITS)
    assert message in refused(check_labels, array, 5, LOGITS)


def test_evaluation_refuses_what_is_no_class_of_the_model():
    class Inference:  # whose networks are not asked
        class model:  # noqa: N801
            num_classes, sides = 5, ("single",)

    message = refused(counts.segment_and_count, Inference, np.zeros((3, 4, 3), "uint8"), labels(5)[0].astype("uint8"))
    assert message.endswith("Received: 5")
