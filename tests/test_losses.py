"""Losses and gradients are what NumPy computes pixel by pixel; void counts nowhere, and batches split anywhere."""

import json
import math
from fractions import Fraction

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop.errors import InputError
from keras_crosscoop.losses import Averaged, CrossEntropy, Dice, WeightedSum

RNG = np.random.default_rng(0)
WEIGHTS = (0.5, 2, 0, 1)


def log_softmax(logits):
    logits = logits.astype("float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def cross_entropy(labels, logits, class_weights=(1, 1, 1, 1), label_smoothing=0, focal_gamma=0, hard_pixel_fraction=1):
    """Pixel by pixel, then image by image: the sum of what counts over how much counts."""
    total = size = 0
    for image, log_p in zip(labels, log_softmax(logits), strict=True):
        costs, weights = [], []
        for pixel, label in np.ndenumerate(image):
            if label != 255:
                target = label_smoothing / 4 + (1 - label_smoothing) * np.eye(4)[label]
                wrong = 1 - np.exp(log_p[pixel][label])
                costs.append(-(wrong**focal_gamma) * np.sum(target * class_weights * log_p[pixel]))
                weights.append(class_weights[label])
        kept = math.ceil(Fraction(str(hard_pixel_fraction)) * len(costs))
        total += sum(sorted(costs)[len(costs) - kept :])
        size += kept * np.mean(weights) if weights else 0
    return total / size if size else 0.0


def dice(labels, logits):
    """Image by image, class by class."""
    images = []
    for image, p in zip(labels, np.exp(log_softmax(logits)), strict=True):
        p, image = p[image != 255], image[image != 255]
        classes = [1 - 2 * p[image == c, c].sum() / ((image == c).sum() + p[:, c].sum()) for c in np.unique(image)]
        images += [np.mean(classes)] if classes else []
    return np.mean(images) if images else 0.0


def of(**options):
    return CrossEntropy(**options), lambda labels, logits: cross_entropy(labels, logits, **options)


OPTIONS = [
    {},
    {"class_weights": WEIGHTS},
    {"label_smoothing": 0.2},
    {"focal_gamma": 2.0},
    {"focal_gamma": 0.5},
    {"hard_pixel_fraction": 0.3},
    {"class_weights": WEIGHTS, "hard_pixel_fraction": 0.3},
    {"class_weights": WEIGHTS, "label_smoothing": 0.2, "focal_gamma": 1.5, "hard_pixel_fraction": 0.55},
]
LOSSES = [
    *(pytest.param(*of(**options), id="_".join(options) or "plain") for options in OPTIONS),
    pytest.param(Dice(), dice, id="dice"),
    pytest.param(
        WeightedSum(
            [WeightedSum([CrossEntropy(), Dice()], [1, 0.5]), CrossEntropy(WEIGHTS, focal_gamma=2)], [3, -0.25]
        ),
        lambda *batch: (
            3 * cross_entropy(*batch) + 1.5 * dice(*batch) - 0.25 * cross_entropy(*batch, WEIGHTS, focal_gamma=2)
        ),
        id="sum",
    ),
]
each_loss = pytest.mark.parametrize(("loss", "by_hand"), LOSSES)


def sample(void=0.3, scale=1.0, images=2, size=(5, 6)):
    labels = RNG.integers(0, 4, (images, *size))
    labels[RNG.random(labels.shape) < void] = 255
    return labels, (scale * RNG.normal(size=(*labels.shape, 4))).astype("float32")


def gradient(loss, labels, logits):
    logits = tf.convert_to_tensor(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return tape.gradient(value, logits)


@pytest.mark.parametrize(
    ("void", "dtype"), [(0.0, "uint8"), (0.3, "uint8"), (0.3, "int32"), (0.95, "uint8"), (0.95, "int64")]
)
@each_loss
def test_is_what_numpy_computes(loss, by_hand, void, dtype):
    labels, logits = sample(void)
    np.testing.assert_allclose(loss(labels.astype(dtype), logits), by_hand(labels, logits), rtol=1e-5)


@each_loss
def test_gradient_is_the_slope_of_what_numpy_computes(loss, by_hand):
    labels, logits = sample(size=(2, 4))
    slopes = np.zeros(logits.shape)
    for index in np.ndindex(logits.shape):
        up, down = logits.astype("float64"), logits.astype("float64")
        up[index] += 1e-5
        down[index] -= 1e-5
        slopes[index] = (by_hand(labels, up) - by_hand(labels, down)) / 2e-5
    np.testing.assert_allclose(gradient(loss, labels, logits), slopes, atol=1e-6)


@each_loss
def test_a_batch_is_the_sum_of_its_parts(loss, by_hand):
    """However it is cut, one image being void and another nearly."""
    labels, logits = sample(images=5)
    labels[1] = 255
    labels[3, 1:] = 255
    for cuts in ([1, 2, 3, 4], [2], [4], [1, 1]):  # the last with a part of no images
        parts = list(zip(np.split(labels, cuts), np.split(logits, cuts), strict=True))
        numerators, denominators = (
            sum(loss.numerators(*part) for part in parts),
            sum(loss.denominators(part) for part, _ in parts),
        )
        assert numerators.shape == denominators.shape == (len(loss.coefficients),)
        np.testing.assert_allclose(numerators, loss.numerators(labels, logits), rtol=1e-5)
        np.testing.assert_allclose(denominators, loss.denominators(labels), rtol=1e-6)
        np.testing.assert_allclose(loss.total(numerators, denominators), by_hand(labels, logits), rtol=1e-5)


@each_loss
def test_nothing_valid_costs_nothing(loss, by_hand):
    _, logits = sample()
    labels = np.full((2, 5, 6), 255, "uint8")
    assert float(loss(labels, logits)) == 0
    assert not np.any(loss.denominators(labels))
    np.testing.assert_array_equal(gradient(loss, labels, logits), np.zeros(logits.shape))


@pytest.mark.parametrize("scale", [1e2, 1e30])
@each_loss
def test_large_logits_stay_finite(loss, by_hand, scale):
    labels, logits = sample(scale=scale)
    np.testing.assert_allclose(loss(labels, logits), by_hand(labels, logits), rtol=1e-5)
    assert np.isfinite(gradient(loss, labels, logits)).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@each_loss
def test_half_precision_is_taken_to_float32_first(loss, by_hand, dtype):
    """Of the rounded logits the loss is exact: in bfloat16 itself it would be off by up to 1 in 256."""
    labels, logits = sample()
    rounded = tf.cast(logits, dtype)
    expected = by_hand(labels, tf.cast(rounded, "float32").numpy())
    value = loss(labels, rounded)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, expected, rtol=1e-5)


ALL_OPTIONS, DICE, SUM = LOSSES[-3:]
TRACED = [
    pytest.param(*loss.values, xla, id=f"{loss.id}{'-xla' * xla}", marks=[pytest.mark.slow] * (loss not in quick))
    for xla, quick in ((False, [ALL_OPTIONS, SUM]), (True, [ALL_OPTIONS]))
    for loss in LOSSES
]


@pytest.mark.parametrize(("loss", "by_hand", "jit_compile"), TRACED)
def test_is_the_same_when_traced(loss, by_hand, jit_compile):
    labels, logits = sample()
    specs = [tf.TensorSpec((None, None, None), tf.int64), tf.TensorSpec((None, None, None, 4))]
    traced = tf.function(lambda *batch: (loss(*batch), gradient(loss, *batch)), specs, jit_compile=jit_compile)
    value, slopes = traced(labels, logits)
    np.testing.assert_allclose(value, by_hand(labels, logits), rtol=1e-5)
    np.testing.assert_allclose(slopes, gradient(loss, labels, logits), atol=1e-7)


@each_loss
def test_from_a_configuration(loss, by_hand):
    batch = sample()
    saved = json.dumps(keras.saving.serialize_keras_object(loss))  # as in a `.keras` file
    copy = keras.saving.deserialize_keras_object(json.loads(saved))
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert float(copy(*batch)) == float(loss(*batch))
    assert type(loss).from_config(loss.get_config() | {"name": "mine"}).name == "mine"


def test_of_two_pixels():
    """Softmax (1/4, 3/4) at label 1 and (1/2, 1/2) at label 0; a third pixel is void."""
    logits = np.log([[[[1, 3], [2, 2], [1, 9]]]]).astype("float32")
    labels = np.array([[[1, 0, 255]]])
    costs = np.log([4 / 3, 2])
    np.testing.assert_allclose(CrossEntropy()(labels, logits), np.mean(costs), rtol=1e-6)
    np.testing.assert_allclose(CrossEntropy(focal_gamma=2)(labels, logits), np.mean(costs * [1 / 16, 1 / 4]), rtol=1e-6)
    np.testing.assert_allclose(CrossEntropy(hard_pixel_fraction=0.5)(labels, logits), costs[1], rtol=1e-6)
    overlaps = np.array([2 * 0.5 / (1 + 0.75), 2 * 0.75 / (1 + 1.25)])
    np.testing.assert_allclose(Dice()(labels, logits), np.mean(1 - overlaps), rtol=1e-6)


def test_weighs_and_smooths_as_pytorch_does():
    """`torch.nn.functional.cross_entropy(..., weight=[1, 2, 0.5], label_smoothing=0.2)` of PyTorch 2.13."""
    labels, logits = np.array([[[0, 2, 1]]]), np.array([[[[2, 0, -1], [0, 1, 0], [-1, 0, 0.5]]]], "float32")
    np.testing.assert_allclose(CrossEntropy(label_smoothing=0.2)(labels, logits), 1.0418072, rtol=1e-6)
    np.testing.assert_allclose(CrossEntropy((1, 2, 0.5), label_smoothing=0.2)(labels, logits), 0.9901891, rtol=1e-6)


def test_class_weights_are_in_the_divisor():
    """However small they are; where they are all 0, nothing counts, smoothed or not."""
    labels, logits = sample()
    expected = cross_entropy(labels, logits)
    np.testing.assert_allclose(CrossEntropy((1e-9,) * 4)(labels, logits), expected, rtol=1e-5)
    for smoothing in (0, 0.2):
        loss = CrossEntropy((0, 1, 1, 1), smoothing)
        assert float(loss(np.zeros((2, 5, 6), "uint8"), logits)) == 0
        assert not np.any(gradient(loss, np.zeros((2, 5, 6), "uint8"), logits))


@pytest.mark.parametrize("hard_pixel_fraction", ["0.1", "0.3", "0.7", "0.55", "0.0001", "0.9999"])
def test_top_k_rounds_the_exact_share_up(hard_pixel_fraction):
    """In floats, 0.1 * 30 or 0.7 * 10 can be more than 3 or 7; in 32 bits, 9999 * 2048 * 1024 overflows."""
    loss = CrossEntropy(hard_pixel_fraction=float(hard_pixel_fraction))
    for count in (*range(1, 64), 2048 * 1024):
        denominator = loss.denominators(np.zeros((1, 1, count), "uint8"))[0]
        assert denominator == math.ceil(Fraction(hard_pixel_fraction) * count), count


def test_top_k_counts_no_more_pixels_where_several_cost_the_same():
    labels, logits = np.zeros((2, 3, 5), "uint8"), np.zeros((2, 3, 5, 4), "float32")
    labels[0, 0] = 255
    loss = CrossEntropy(hard_pixel_fraction=0.25)  # of 10 and of 15 valid pixels: 3 and 4
    np.testing.assert_array_equal(loss.denominators(labels), [7])
    np.testing.assert_allclose(loss.numerators(labels, logits), [7 * np.log(4)], rtol=1e-6)
    counted = np.any(gradient(loss, labels, logits), axis=-1)
    np.testing.assert_array_equal(counted.sum(axis=(1, 2)), [3, 4])
    assert not counted[0, 0].any()


def test_a_perfect_answer_has_a_finite_focal_gradient():
    labels, _ = sample(void=0)
    logits = 200 * np.eye(4, dtype="float32")[labels]
    np.testing.assert_array_equal(gradient(CrossEntropy(focal_gamma=0.5), labels, logits), np.zeros(logits.shape))


def test_any_loss_of_keras_can_be_averaged_over_images():
    """A mean over pixels, of which all images have as many, is split as the others are."""
    labels, logits = sample(void=0, images=3)
    loss = Averaged(keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255))
    loss = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    numerators = loss.numerators(labels[:1], logits[:1]) + loss.numerators(labels[1:], tf.cast(logits[1:], "float64"))
    np.testing.assert_array_equal(loss.denominators(labels[1:]), [2])
    np.testing.assert_allclose(numerators, [3 * cross_entropy(labels, logits)], rtol=1e-6)
    np.testing.assert_allclose(loss(labels, logits), cross_entropy(labels, logits), rtol=1e-6)
    combined = WeightedSum([loss, Dice()], [2, 1])
    np.testing.assert_allclose(combined(labels, logits), 2 * loss(labels, logits) + Dice()(labels, logits), rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy([1, -1]), r"`class_weights` must be finite, 0 or more. Received: \(1.0, -1.0\)"),
        (lambda: CrossEntropy([1, math.inf]), r"`class_weights` must be finite, 0 or more. Received: \(1.0, inf\)"),
        (lambda: CrossEntropy(label_smoothing=1), r"`label_smoothing` must lie in \[0, 1\), .* Received: 1"),
        (lambda: CrossEntropy(label_smoothing=-0.1), r"`label_smoothing` must lie in \[0, 1\), .* Received: -0.1"),
        (lambda: CrossEntropy(focal_gamma=-1), r"`focal_gamma` must be finite, 0 or more, .* Received: -1"),
        (lambda: CrossEntropy(focal_gamma=math.nan), r"`focal_gamma` must be finite, 0 or more, .* Received: nan"),
        (
            lambda: CrossEntropy(hard_pixel_fraction=0),
            r"`hard_pixel_fraction` must lie in \[0.0001, 1\], .* Received: 0",
        ),
        (
            lambda: CrossEntropy(hard_pixel_fraction=1.5),
            r"`hard_pixel_fraction` must lie in \[0.0001, 1\], .* Received: 1.5",
        ),
        (lambda: CrossEntropy((1, 2))(*sample()), r"a class weight for each of 4 classes. Received: \(1.0, 2.0\)"),
        (lambda: WeightedSum([Dice()], [1, 2]), r"one coefficient per loss. Received: .*coefficients=\[1, 2\]"),
        (lambda: WeightedSum([], []), "A sum needs losses and .* Received: losses=\\[\\]"),
        (lambda: WeightedSum([keras.losses.Dice()], [1]), "Wrap others in `Averaged`. Received: <LossFunctionWrapper"),
        (lambda: CrossEntropy([0, 0]), "`class_weights` must not all be 0, or nothing is learnt"),
        (lambda: WeightedSum([CrossEntropy(), Dice()], [0, 0]), "and not all 0"),
        (lambda: WeightedSum([CrossEntropy()], [math.nan]), "must be finite"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()
