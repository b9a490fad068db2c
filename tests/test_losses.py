"""The loss is the mean over valid pixels of what NumPy computes by hand, and stays finite where none is valid."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.losses import CrossEntropy

RNG = np.random.default_rng(0)


def by_hand(labels, logits, class_weights=(1, 1, 1, 1)):
    """Minus the logarithm of the softmax at the label, in float64, averaged over pixels that are not 255."""
    logits = logits.astype("float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    losses = [-log_softmax[index][label] for index, label in np.ndenumerate(labels) if label != 255]
    return np.average(losses, weights=[class_weights[label] for label in labels.ravel() if label != 255])


def sample(void=0.3, scale=1.0):
    labels = RNG.integers(0, 4, (2, 5, 6))
    labels[RNG.random(labels.shape) < void] = 255
    return labels, (scale * RNG.normal(size=(2, 5, 6, 4))).astype("float32")


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("void", [0.0, 0.3, 0.95])
def test_is_the_mean_over_valid_pixels(dtype, void):
    labels, logits = sample(void)
    np.testing.assert_allclose(CrossEntropy()(labels.astype(dtype), logits), by_hand(labels, logits), rtol=1e-5)


def test_of_two_pixels():
    """Softmax (1/4, 3/4) at label 1 and (1/2, 1/2) at label 0; a third pixel is void."""
    logits = np.log([[[[1, 3], [2, 2], [1, 9]]]]).astype("float32")
    labels = np.array([[[1, 0, 255]]])
    np.testing.assert_allclose(CrossEntropy()(labels, logits), (np.log(4 / 3) + np.log(2)) / 2, rtol=1e-6)


def test_gradient_is_softmax_less_one_hot():
    """Over the count of valid pixels, and nothing at void ones."""
    labels, logits = sample()
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = CrossEntropy()(labels, logits)
    valid = labels != 255
    expected = (tf.nn.softmax(logits).numpy() - np.eye(256)[labels][..., :4]) * valid[..., None] / valid.sum()
    np.testing.assert_allclose(tape.gradient(loss, logits), expected, atol=1e-7)


def test_nothing_valid_costs_nothing():
    labels, logits = np.full((2, 3, 3), 255, "uint8"), tf.constant(RNG.normal(size=(2, 3, 3, 4)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = CrossEntropy()(labels, logits)
    assert float(loss) == 0
    np.testing.assert_array_equal(tape.gradient(loss, logits), np.zeros(logits.shape))


@pytest.mark.parametrize("scale", [1e2, 1e4, 1e30])
def test_large_logits_stay_finite(scale):
    labels, logits = sample(scale=scale)
    np.testing.assert_allclose(CrossEntropy()(labels, logits), by_hand(labels, logits), rtol=1e-5)


def test_bfloat16_logits_are_taken_to_float32_first():
    """Of the rounded logits the loss is exact: in bfloat16 itself it would be off by up to 1 in 256."""
    labels, logits = sample()
    rounded = tf.cast(logits, "bfloat16")
    loss = CrossEntropy()(labels, rounded)
    assert loss.dtype == "float32"
    np.testing.assert_allclose(loss, by_hand(labels, tf.cast(rounded, "float32").numpy()), rtol=1e-5)
    np.testing.assert_allclose(CrossEntropy().call(labels, rounded), loss, rtol=1e-6)


def test_is_the_same_when_traced():
    labels, logits = sample()
    specs = [tf.TensorSpec((None, None, None), tf.int64), tf.TensorSpec((None, None, None, 4))]
    traced = tf.function(CrossEntropy(), input_signature=specs)
    np.testing.assert_allclose(traced(labels, logits), by_hand(labels, logits), rtol=1e-5)


def test_class_weights_weigh_the_mean():
    """As `torch.nn.CrossEntropyLoss(weight)` has it: the weights are in the divisor too, however small they are."""
    labels, logits = sample()
    weights = (0.01, 0.002, 0, 0.03)
    np.testing.assert_allclose(CrossEntropy(weights)(labels, logits), by_hand(labels, logits, weights), rtol=1e-5)
    np.testing.assert_allclose(CrossEntropy((2, 2, 2, 2))(labels, logits), by_hand(labels, logits), rtol=1e-5)
    assert float(CrossEntropy((0, 1, 1, 1))(np.zeros((2, 5, 6), "uint8"), logits)) == 0


def test_from_a_configuration():
    loss = CrossEntropy((1, 2.5), name="mine")
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(loss) is CrossEntropy
    assert loss.name == "mine"
    assert loss.class_weights == (1, 2.5)
