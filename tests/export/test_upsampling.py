"""A convolution before upsampling gives what the same convolution after upsampling gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_near, kinds, lively, photographs, values
from keras import layers

from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.folding import fold_batch_normalization
from keras_crosscoop.export.upsampling import UpsampledConv2D, conv_before_upsample
from keras_crosscoop.layers import ResizeLike


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_a_row_by_hand():
    """[1, 3] upsampled to four pixels is [1, 1.5, 2.5, 3]; beyond its ends there are zeros, in other rows too."""
    layer = UpsampledConv2D(1)
    features = tf.constant([[[[1.0], [3.0]]]])
    layer.build((None, 1, 2, 1), (None, 1, 4, 1))
    kernel = np.full((3, 3), 1000.0)
    kernel[1] = [1, 10, 100]
    layer.set_weights([kernel.reshape(3, 3, 1, 1)])
    result = layer(features, tf.zeros((1, 1, 4, 1)))
    np.testing.assert_allclose(result[0, 0, :, 0], [160, 266, 326.5, 32.5], rtol=1e-6)


SIZES = [
    ((3, 4), (12, 16), True),
    ((3, 5), (12, 17), False),
    ((4, 3), (7, 10), False),  # 7/4 and 10/3
    ((5, 7), (5, 7), False),
    ((6, 9), (4, 5), False),
    ((4, 1), (1, 6), False),
    ((1, 1), (1, 1), True),
    ((1, 1), (6, 3), False),
]


@pytest.mark.parametrize(("size", "new_size", "known"), SIZES)
def test_it_is_the_convolution_of_upsampled_features(size, new_size, known):
    """Of Keras, on features that TensorFlow upsamples."""
    features, like, kernel = random(2, *size, 6), np.zeros((2, *new_size, 1), "float32"), random(3, 3, 6, 5, seed=1)
    given = (size, new_size) if known else ((None, None), (None, None))
    inputs = [keras.Input((*given[0], 6)), keras.Input((*given[1], 1))]
    layer = UpsampledConv2D(5)
    model = keras.Model(inputs, layer(*inputs))
    layer.set_weights([kernel])
    result = tf.function(lambda *x: model(list(x)))(tf.constant(features), tf.constant(like))
    convolution = layers.Conv2D(5, 3, padding="same", use_bias=False)
    upsampled = tf.image.resize(features, new_size)
    convolution.build(upsampled.shape)
    convolution.set_weights([kernel])
    expected = convolution(upsampled)
    assert model.output_shape == (None, *given[1], 5)
    assert_near(np.asarray(result), np.asarray(expected))


def of_layers(model, part):
    return {layer.name for layer in model.layers if part(layer)}


@pytest.mark.parametrize(
    "arguments", [None, *(pytest.param(of, marks=pytest.mark.slow) for of in ({}, {"topology": "none"}))]
)
def test_exactly_the_first_layers_of_decoders_are_replaced(graph_of, pair, arguments):
    """In the shared network, and in pairs of other connections."""
    network = graph_of("ensemble") if arguments is None else deployment_graph(lively(pair(**arguments)), "ensemble")
    changed = conv_before_upsample(network)
    sides = ("top", "bottom")
    assert of_layers(changed, lambda layer: isinstance(layer, UpsampledConv2D)) == {
        f"{side}_decoder_1_conv_upsampled" for side in sides
    }
    gone = {f"{side}_decoder_{layer}" for side in sides for layer in ("upsample", "concat")}
    resized = of_layers(network, lambda layer: isinstance(layer, ResizeLike))
    assert of_layers(changed, lambda layer: isinstance(layer, ResizeLike)) == resized - gone
    assert resized == {f"{side}_{layer}" for side in sides for layer in ("decoder_upsample", "aspp_pool_resize")}
    assert not of_layers(changed, lambda layer: layer.name in gone)
    assert changed.count_params() == network.count_params()
    for size in ((40, 56), (33, 47)):
        images = photographs(2, *size, seed=9)
        assert_near(values(changed, images), values(network, images))


def concatenated(convolution, order=("upsampled", "other")):
    """A model of that convolution of upsampled features and others, concatenated."""
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 32, 3))
    small = layers.Conv2D(4, 3, strides=4, padding="same", name="small")(image)
    features = {"upsampled": ResizeLike()(small, image), "other": image, "third": layers.Conv2D(2, 1)(image)}
    return keras.Model(image, convolution(layers.Concatenate()([features[name] for name in order])))


def test_the_plain_case_is_replaced():
    model = concatenated(layers.Conv2D(5, 3, padding="same", bias_initializer="normal"))
    changed, images = conv_before_upsample(model), photographs(2, 24, 32)
    assert kinds(changed).count("UpsampledConv2D") == 1
    assert_near(values(changed, images), values(model, images))


@pytest.mark.parametrize(
    ("convolution", "order"),
    [
        (lambda: layers.Conv2D(5, 3, padding="valid"), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", strides=2), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", dilation_rate=2), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", activation="relu"), ("upsampled", "other")),
        (lambda: layers.Conv2D(7, 3, padding="same", groups=7), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 5, padding="same"), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 1, padding="same"), ("upsampled", "other")),
        (lambda: layers.SeparableConv2D(5, 3, padding="same"), ("upsampled", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("other", "upsampled")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("upsampled", "other", "third")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("other", "third")),
    ],
)
def test_other_convolutions_stay(convolution, order):
    model = concatenated(convolution(), order)
    changed, images = conv_before_upsample(model), photographs(2, 24, 32)
    assert kinds(changed) == kinds(fold_batch_normalization(model, (24, 32, 3)))
    assert "UpsampledConv2D" not in kinds(changed)
    assert_near(values(changed, images), values(model, images))
