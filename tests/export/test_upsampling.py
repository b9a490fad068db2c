"""Convolving before enlarging gives what convolving after it gives."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_near, kinds, lively, photographs, values
from keras import layers

from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.folding import folded
from keras_crosscoop.export.upsampling import UpsampledConv2D, enlarged_last
from keras_crosscoop.layers import ResizeLike


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def test_a_row_by_hand():
    """[1, 3] enlarged to four pixels is [1, 1.5, 2.5, 3]; beyond its ends there are zeros, in other rows too."""
    layer = UpsampledConv2D(1)
    features = tf.constant([[[[1.0], [3.0]]]])
    layer.build((None, 1, 2, 1), (None, 1, 4, 1))
    kernel = np.full((3, 3), 1000.0)
    kernel[1] = [1, 10, 100]
    layer.set_weights([kernel.reshape(3, 3, 1, 1)])
    found = layer(features, tf.zeros((1, 1, 4, 1)))
    np.testing.assert_allclose(found[0, 0, :, 0], [160, 266, 326.5, 32.5], rtol=1e-6)


SIZES = [
    ((3, 4), (12, 16)),
    ((3, 4), (11, 15)),
    ((3, 5), (12, 17)),
    ((4, 3), (7, 10)),  # 7/4 and 10/3
    ((5, 7), (5, 7)),
    ((6, 9), (4, 5)),
    ((1, 4), (5, 9)),
    ((4, 1), (1, 6)),
    ((1, 1), (1, 1)),
    ((1, 1), (6, 3)),
]


@pytest.mark.parametrize(("size", "new_size"), SIZES)
@pytest.mark.parametrize("known", [True, False])
def test_it_is_the_convolution_of_enlarged_features(size, new_size, known):
    """Of Keras, on what TensorFlow enlarges."""
    features, like, kernel = random(2, *size, 6), np.zeros((2, *new_size, 1), "float32"), random(3, 3, 6, 5, seed=1)
    given = (size, new_size) if known else ((None, None), (None, None))
    inputs = [keras.Input((*given[0], 6)), keras.Input((*given[1], 1))]
    layer = UpsampledConv2D(5)
    model = keras.Model(inputs, layer(*inputs))
    layer.set_weights([kernel])
    found = tf.function(lambda *x: model(list(x)))(tf.constant(features), tf.constant(like))
    convolution = layers.Conv2D(5, 3, padding="same", use_bias=False)
    enlarged = tf.image.resize(features, new_size)
    convolution.build(enlarged.shape)
    convolution.set_weights([kernel])
    expected = convolution(enlarged)
    assert model.output_shape == (None, *given[1], 5)
    assert_near(np.asarray(found), np.asarray(expected))


def of_layers(model, part):
    return {layer.name for layer in model.layers if part(layer)}


@pytest.mark.parametrize("arguments", [{}, {"topology": "none"}, {"fusion": "add"}, {"sites": ("aspp_output",)}])
def test_exactly_the_first_layers_of_decoders_are_replaced(pair, arguments):
    network = deployed(lively(pair(**arguments)), "ensemble")
    changed = enlarged_last(network)
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
    for size in ((40, 56), (33, 47), (16, 64)):
        images = photographs(2, *size, seed=9)
        assert_near(values(changed, images), values(network, images))


def test_an_output_alone(network):
    graph = deployed(network, "bottom", (40, 56))
    changed, images = enlarged_last(graph), photographs(1, 40, 56, seed=9)
    assert of_layers(changed, lambda layer: isinstance(layer, UpsampledConv2D)) == {
        "top_decoder_1_conv_upsampled",
        "bottom_decoder_1_conv_upsampled",
    }
    assert_near(values(changed, images), values(graph, images))


def joined(convolution, order=("enlarged", "other")):
    """A model of that convolution of enlarged features and others, side by side."""
    keras.utils.set_random_seed(0)
    image = keras.Input((24, 32, 3))
    small = layers.Conv2D(4, 3, strides=4, padding="same", name="small")(image)
    found = {"enlarged": ResizeLike()(small, image), "other": image, "third": layers.Conv2D(2, 1)(image)}
    return keras.Model(image, convolution(layers.Concatenate()([found[name] for name in order])))


def test_the_plain_case_is_replaced():
    model = joined(layers.Conv2D(5, 3, padding="same", bias_initializer="normal"))
    changed, images = enlarged_last(model), photographs(2, 24, 32)
    assert kinds(changed).count("UpsampledConv2D") == 1
    assert_near(values(changed, images), values(model, images))


@pytest.mark.parametrize(
    ("convolution", "order"),
    [
        (lambda: layers.Conv2D(5, 3, padding="valid"), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", strides=2), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", dilation_rate=2), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same", activation="relu"), ("enlarged", "other")),
        (lambda: layers.Conv2D(7, 3, padding="same", groups=7), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 5, padding="same"), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 1, padding="same"), ("enlarged", "other")),
        (lambda: layers.SeparableConv2D(5, 3, padding="same"), ("enlarged", "other")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("other", "enlarged")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("enlarged", "other", "third")),
        (lambda: layers.Conv2D(5, 3, padding="same"), ("other", "third")),
    ],
)
def test_other_convolutions_stay(convolution, order):
    model = joined(convolution(), order)
    changed, images = enlarged_last(model), photographs(2, 24, 32)
    assert kinds(changed) == kinds(folded(model, (24, 32, 3)))
    assert "UpsampledConv2D" not in kinds(changed)
    assert_near(values(changed, images), values(model, images))
