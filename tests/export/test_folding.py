"""Folding changes how a network computes, not its outputs."""

from contextlib import contextmanager

import keras
import numpy as np
import pytest
from export.networks import assert_near, kinds, lively, photographs, values
from keras import layers
from micro import micro_pair

from keras_crosscoop import backbones
from keras_crosscoop.export.folding import fold_batch_normalization
from keras_crosscoop.layers import AtrousConv2D

FAMILIES = [  # one of each kind of block
    "tiny_xception",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("tiny_resnet", "mobilenet", "mobilenet_v2")),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenet_v3_large", "resnet50", "efficientnet_b0")),
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("xception", "xception65")),
]
GONE = {"BatchNormalization", "Dropout"}


@contextmanager
def policy(name):
    """Layers that are built in the block are of this precision."""
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def in_double_precision(build, model):
    """A model of the same weights that computes in float64."""
    with policy("float64"):
        exact = build()
    exact.set_weights(model.get_weights())
    return exact


@pytest.mark.parametrize("name", FAMILIES)
def test_backbones_are_the_same_without_normalisation(name):
    """As near to what double precision finds as the backbone itself, over up to a hundred layers; which stays."""
    keras.utils.set_random_seed(0)
    model = lively(backbones.build(name, weights=None))
    exact = in_double_precision(lambda: backbones.build(name, weights=None), model)
    weights = [weight.numpy() for weight in model.weights]
    inputs = [photographs(2, *size, seed=9) for size in ((64, 96), (49, 35))]
    before = [values(model, images) for images in inputs]
    copy = fold_batch_normalization(model)
    assert "BatchNormalization" in kinds(model)
    assert not GONE & set(kinds(copy))
    for images, own in zip(inputs, before, strict=True):
        folded, expected = values(copy, images), values(exact, images)
        assert folded.keys() == {"low", "high"}
        for tap in folded:
            largest = np.abs(expected[tap]).max()
            error, own_error = (np.abs(features[tap] - expected[tap]).max() / largest for features in (folded, own))
            assert error < 2 * own_error + 1e-6 < 1e-4
            np.testing.assert_array_equal(values(model, images)[tap], own[tap])
    for weight, array in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), array, err_msg=weight.path)


@pytest.mark.parametrize("topology", ["cross", pytest.param("one_way", marks=pytest.mark.slow)])
def test_pairs_are_the_same_without_normalisation(pair, topology):
    model = lively(pair(topology=topology))
    copy, images = fold_batch_normalization(model), photographs(2, 40, 57, seed=9)
    assert not GONE & set(kinds(copy))
    assert copy.output.keys() == {"top", "bottom"}
    assert_near(values(copy, images), values(model, images))


def through(*operations, channels=1):
    """A model of layers one after another."""
    image = keras.Input((None, None, channels))
    x = image
    for operation in operations:
        x = operation(x)
    return keras.Model(image, x)


def normalisation(gamma, beta, mean, variance, **options):
    """A batch normalisation of those weights and statistics, once it is built."""
    layer = layers.BatchNormalization(epsilon=1.0, **options)
    weights = [] if gamma is None else [gamma]
    weights += [] if beta is None else [beta]
    return layer, [np.array(values, "float32") for values in (*weights, mean, variance)]


def test_weights_by_hand():
    """2 x + 1, less the mean 4, over the deviation 2 (variance 3, epsilon 1), times 5, plus 7, is 5 x - 0.5."""
    layer, weights = normalisation([5], [7], [4], [3])
    convolution = layers.Conv2D(1, 1)
    model = through(convolution, layer)
    convolution.set_weights([np.full((1, 1, 1, 1), 2.0), np.array([1.0])])
    layer.set_weights(weights)
    kernel, bias = fold_batch_normalization(model, (None, None, 1)).get_weights()
    assert (kernel.item(), bias.item()) == (5, -0.5)


@pytest.mark.parametrize(
    ("scaled", "centred", "expected"), [(False, True, (1, 5.5)), (True, False, (5, -7.5)), (False, False, (1, -1.5))]
)
def test_normalisations_without_factor_or_offset_by_hand(scaled, centred, expected):
    layer, weights = normalisation(
        [5] if scaled else None, [7] if centred else None, [4], [3], scale=scaled, center=centred
    )
    convolution = layers.Conv2D(1, 1)
    model = through(convolution, layer)
    convolution.set_weights([np.full((1, 1, 1, 1), 2.0), np.array([1.0])])
    layer.set_weights(weights)
    kernel, bias = fold_batch_normalization(model, (None, None, 1)).get_weights()
    assert (kernel.item(), bias.item()) == expected


@pytest.mark.parametrize(
    "convolution",
    [
        lambda: layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False),
        lambda: AtrousConv2D(6, 3, padding="same", dilation_rate=2),
        lambda: layers.Conv2D(6, 3, groups=3),
        lambda: layers.DepthwiseConv2D(3, bias_initializer="normal"),
        lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False),
        lambda: layers.SeparableConv2D(6, 3, depth_multiplier=2, use_bias=False),
        lambda: layers.SeparableConv2D(6, 3, bias_initializer="normal"),
    ],
)
def test_each_kind_of_convolution_takes_it_in(convolution):
    """Channels of a depthwise convolution that makes several of one are numbered by both."""
    keras.utils.set_random_seed(0)
    model = lively(through(convolution(), layers.BatchNormalization(), layers.ReLU(), channels=3))
    copy, images = fold_batch_normalization(model), photographs(2, 20, 21, seed=9)
    assert "BatchNormalization" not in kinds(copy)
    assert_near(values(copy, images), values(model, images))


def read_twice(image):
    features = layers.Conv2D(4, 3)(image)
    return layers.Add()([features, layers.BatchNormalization()(features)])


def normalised_twice(image):
    features = layers.Conv2D(4, 3)(image)
    return layers.Concatenate()([layers.BatchNormalization()(features), layers.BatchNormalization()(features)])


def seen_outside(image):
    features = layers.Conv2D(4, 3)(image)
    return [features, layers.BatchNormalization()(features)]


def activated(image):
    return layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(image))


def of_rows(image):
    return layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(image))


def of_no_convolution(image):
    return layers.BatchNormalization()(layers.MaxPooling2D()(image))


@pytest.mark.parametrize("graph", [read_twice, normalised_twice, seen_outside, activated, of_rows, of_no_convolution])
def test_other_normalisations_are_kept(graph):
    """Another reader would get the features normalised; activations stand between; rows are not channels."""
    keras.utils.set_random_seed(0)
    image = keras.Input((20, 20, 3))
    model = lively(keras.Model(image, graph(image)), (20, 20))
    copy, images = fold_batch_normalization(model, (20, 20, 3)), photographs(2, 20, 20, seed=9)
    assert kinds(copy).count("BatchNormalization") == kinds(model).count("BatchNormalization")
    assert_near(values(copy, images), values(model, images))


def test_normalisation_is_applied_as_in_inference_even_twice():
    """A normalisation behind a folded one has no convolution before it any more: it stays, and is right."""
    keras.utils.set_random_seed(0)
    model = lively(through(layers.Conv2D(4, 3), layers.BatchNormalization(), layers.BatchNormalization(), channels=3))
    copy, images = fold_batch_normalization(model), photographs(2, 20, 20, seed=9)
    assert kinds(copy).count("BatchNormalization") == 1
    assert_near(values(copy, images), values(model, images))


def test_a_copy_is_float32_whatever_the_policy():
    """And has the outputs of the same network in float32, which half precision has not."""
    exact = lively(micro_pair())
    with policy("mixed_bfloat16"):
        half = micro_pair()
    half.set_weights(exact.get_weights())
    copy, images = fold_batch_normalization(half), photographs(2, 40, 57, seed=9)
    assert {layer.compute_dtype for layer in half._flatten_layers() if layer.weights} > {"float32"}
    assert {layer.compute_dtype for layer in copy._flatten_layers(include_self=False) if layer.weights} == {"float32"}
    assert {layer.variable_dtype for layer in copy._flatten_layers(include_self=False) if layer.weights} == {"float32"}
    assert_near(values(copy, images), values(exact, images))
    assert np.abs(values(half, images)["top"] - values(exact, images)["top"]).max() > 0.001
