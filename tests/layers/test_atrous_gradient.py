"""The gradient of atrous convolution on CPUs is that of Keras's convolution, and stands in training graphs alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_crosscoop import layers

RNG = np.random.default_rng(0)


def gradients(layer, image, upstream):
    """What comes out, and the gradients of image, kernel and bias."""
    with tf.GradientTape() as tape:
        tape.watch(image)
        outputs = layer(image, training=True)
    return [outputs, *tape.gradient(outputs, [image, layer.kernel.value, layer.bias.value], upstream)]


@pytest.mark.parametrize("size", [(17, 13), (5, 40)])
@pytest.mark.parametrize(
    ("kernel", "rate"), [(3, 2), (3, (3, 1)), (3, 6), (3, 18), ((1, 5), 4), (1, 1), (3, 1)], ids=str
)
def test_gradients_are_those_of_keras(kernel, rate, size):
    """In float64, where nothing rounds; also where a kernel reaches beyond the image, or all of its outer taps do."""
    image, upstream = (tf.constant(RNG.normal(size=(2, *size, channels))) for channels in (5, 4))
    pair = [
        kind(4, kernel, padding="same", dilation_rate=rate, dtype="float64")
        for kind in (layers.AtrousConv2D, keras.layers.Conv2D)
    ]
    for layer in pair:
        layer.build(image.shape)
    pair[1].set_weights(pair[0].get_weights())
    for ours, kerass in zip(*(gradients(layer, image, upstream) for layer in pair), strict=True):
        assert float(tf.norm(kerass)) > 1
        np.testing.assert_allclose(ours, kerass, rtol=1e-10, atol=1e-10)


def kinds(layer, *, training):
    """The operations of a graph of sizes known only at run time."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 5))])
    def graph(image):
        with tf.GradientTape() as tape:
            outputs = layer(image, training=training)
        return tape.gradient(outputs, layer.kernel.value) if training else outputs

    image = RNG.normal(size=(1, 9, 8, 5)).astype("float32")
    assert np.isfinite(graph(image)).all()
    return {operation.type for operation in graph.get_concrete_function().graph.get_operations()}


def test_only_training_has_it():
    """Elsewhere a lone convolution is left, which can be joined to what follows and exported."""
    layer = layers.AtrousConv2D(4, 3, padding="same", dilation_rate=2)
    assert {"MatMul", "IdentityN"} <= kinds(layer, training=True)
    inference = kinds(layer, training=False)
    assert "Conv2D" in inference
    assert not {"MatMul", "IdentityN"} & inference


@pytest.mark.parametrize(
    "options",
    [{"padding": "valid"}, {"strides": 2, "dilation_rate": 1}, {"dilation_rate": 1}, {"kernel_size": 2}],
    ids=str,
)
def test_other_convolutions_keep_tensorflows(options):
    layer = layers.AtrousConv2D(**{"filters": 4, "kernel_size": 3, "padding": "same", "dilation_rate": 2, **options})
    assert "Conv2DBackpropFilter" in kinds(layer, training=True)


def test_gpus_keep_tensorflows(monkeypatch):
    monkeypatch.setattr(layers.atrous, "_gpus", lambda: ["GPU:0"])
    layer = layers.AtrousConv2D(4, 3, padding="same", dilation_rate=2)
    assert "Conv2DBackpropFilter" in kinds(layer, training=True)
