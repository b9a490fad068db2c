"""The deployment graph has everything that its output needs, and nothing that training or another output needs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_near, assert_predicts, decided, photographs, values

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.export.deployment import deployment_graph, predictions, probabilities, resize_back, resize_in


def paths(model):
    """The names of its layers that have weights, each behind its backbone's."""
    return {path for layer in model.layers for path in _below(layer)}


def _below(layer):
    if isinstance(layer, keras.Model):
        return {f"{layer.name}/{path}" for path in paths(layer)}
    return {layer.name} if layer.weights else set()


def folded_size(model, wanted):
    """The numbers in wanted layers: kernels and biases, and for each normalised channel one more bias."""
    counted = 0
    for weight in model.weights:
        layer, kind = weight.path.rsplit("/", 1)
        if wanted(layer):
            counted += weight.shape.num_elements() * (kind in ("kernel", "bias", "beta"))
    return counted


def test_one_of_two_separate_networks_is_exported_alone(pair):
    model = pair(topology="none")
    for side, other in (("top", "bottom"), ("bottom", "top")):
        left = paths(deployment_graph(model, side))
        assert {path.split("_")[0] for path in left} == {side}
        assert {path for path in paths(model) if not path.endswith("_bn")} == left | paths(
            deployment_graph(model, other)
        )


@pytest.mark.parametrize(
    ("output", "other"),
    [("top", "bottom"), pytest.param("bottom", "top", marks=pytest.mark.slow)],
)
def test_of_connected_networks_only_the_other_classifier_is_dropped(pair, output, other):
    """Its batch normalisations are folded: each leaves one bias a channel."""
    model = pair(topology="cross")
    everything = {path for path in paths(model) if not path.endswith("_bn")}
    graph = deployment_graph(model, output)
    assert everything - paths(graph) == {f"{other}_classifier"}
    assert graph.count_params() == folded_size(model, lambda layer: layer != f"{other}_classifier")


def test_without_connections_in_the_decoder_the_other_decoder_is_dropped(network, graph_of):
    """Whose features nobody reads; ASPP's are read."""
    everything = {path for path in paths(network) if not path.endswith("_bn")}
    assert paths(graph_of("ensemble")) == everything
    assert graph_of("ensemble").count_params() == folded_size(network, lambda layer: True)
    gone = everything - paths(graph_of("top"))
    assert gone == {f"bottom_{name}" for name in ("decoder_low_conv", "decoder_1_conv", "decoder_2_conv", "classifier")}


def test_a_network_that_only_sends_is_exported_alone(pair):
    model = pair(topology="one_way")
    assert {path.split("_")[0] for path in paths(deployment_graph(model, "top"))} == {"top"}
    everything = paths(deployment_graph(model, "ensemble"))
    assert everything - paths(deployment_graph(model, "bottom")) == {"top_classifier"}


def convolution(size, inputs, filters):
    return size * size * inputs * filters + filters


def residual(inputs, width):
    return convolution(3, inputs, width) + convolution(3, width, width) + convolution(1, inputs, width)


def test_parameters_by_hand():
    """The tiny ResNet, ASPP and decoder 8 wide, low-level features 48 wide, three classes: a bias each channel."""
    backbone = convolution(3, 3, 16) + residual(16, 32) + residual(32, 64) + residual(64, 128) + residual(128, 128)
    aspp = 2 * convolution(1, 128, 8) + 3 * convolution(3, 128, 8) + convolution(1, 5 * 8, 8)
    decoder = convolution(1, 32, 48) + convolution(3, 8 + 48, 8) + convolution(3, 8, 8) + convolution(1, 8, 3)
    model = DeepLabV3Plus(3, backbone="tiny_resnet", decoder_channels=8, weights=None)
    assert deployment_graph(model, "single").count_params() == backbone + aspp + decoder
    assert model.count_params() > backbone + aspp + decoder


@pytest.mark.parametrize("output", ["top", "bottom", "ensemble"])
@pytest.mark.parametrize(("count", "size"), [(2, (33, 47)), (1, (16, 16)), (1, (1, 5))])
def test_probabilities_are_those_of_the_model(network, graph_of, output, count, size):
    """Softmax by NumPy, of logits that the model itself has upsampled and cropped."""
    images = photographs(count, *size, seed=20)
    logits = graph_of(output)(images, training=False)
    of_graph = np.asarray(probabilities(logits, size))
    of_model = values(network, images)
    expected = [np.exp(of_model[side]) for side in (network.sides if output == "ensemble" else [output])]
    expected = np.mean([scores / scores.sum(-1, keepdims=True) for scores in expected], axis=0)
    assert of_graph.dtype == np.float32
    np.testing.assert_allclose(of_graph, expected, atol=1e-5)
    predicted = {name: np.asarray(array) for name, array in predictions(logits, size).items()}
    assert_predicts(predicted, expected, tolerance=1e-5)


def test_the_runs_outputs_are_no_guess(network):
    """What is compared everywhere here has several classes, and sees more than one network."""
    images = photographs(1, 40, 56, seed=20)
    classes_of = {output: network.segment(images[0], output) for output in network.output_choices}
    for classes in classes_of.values():
        assert min(np.bincount(classes.ravel(), minlength=3)) > 50
    assert (classes_of["top"] != classes_of["bottom"]).mean() > 0.2
    assert (classes_of["ensemble"] != classes_of["top"]).mean() > 0.05


def test_a_size_can_be_fixed(graph_of):
    fixed = graph_of("ensemble", (40, 56))
    assert fixed.input_shape == (None, 40, 56, 3)
    quarter = (None, 12, 16, 3)  # of 48 x 64, padded
    assert {side: logits.shape for side, logits in fixed.output.items()} == {"top": quarter, "bottom": quarter}
    images = photographs(1, 40, 56, seed=20)
    assert_near(values(fixed, images), values(graph_of("ensemble"), images))


def test_the_model_stays_as_it_is(small_network):
    config, weights = small_network.to_json(), small_network.get_weights()
    names, images = [weight.path for weight in small_network.weights], photographs(1, 40, 56)
    expected = values(small_network, images)
    deployment_graph(small_network, "ensemble")
    deployment_graph(small_network, "top", (40, 56))
    assert small_network.to_json() == config
    assert [weight.path for weight in small_network.weights] == names
    for after, before in zip(small_network.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(values(small_network, images)["top"], expected["top"])


@pytest.mark.slow
def test_a_network_trained_in_half_precision_is_exported_in_float32(pair):
    exact = decided(pair())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = pair()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(exact.get_weights())
    images = photographs(1, 40, 56, seed=20)
    result, expected = (probabilities(deployment_graph(model, "ensemble")(images), (40, 56)) for model in (half, exact))
    np.testing.assert_allclose(result, expected, atol=1e-6)


def of_sides(*logits):
    return dict(zip(("top", "bottom"), logits, strict=False))


def test_classes_of_hand():
    """Of two networks the mean of probabilities decides, not of logits; ties go to the first class; edges go.

    Both see one feature, so that upsampling it to four by four pixels makes sixteen of the same.
    """

    def logits(*probabilities, plus=0):
        return tf.constant((np.log(probabilities) + plus).reshape(1, 1, 1, -1), tf.float32)

    result = predictions(of_sides(logits(0.2, 0.8), logits(0.7, 0.3, plus=100)), (2, 3))
    np.testing.assert_array_equal(result["classes"], np.ones((1, 2, 3)))
    np.testing.assert_allclose(result["confidence"], np.full((1, 2, 3), 0.55), rtol=1e-5)
    np.testing.assert_allclose(
        probabilities(of_sides(logits(0.2, 0.8), logits(0.7, 0.3, plus=100)), (1, 4)), [[[[0.45, 0.55]] * 4]], rtol=1e-5
    )
    np.testing.assert_array_equal(predictions(of_sides(logits(0.2, 0.4, 0.4)), (1, 1))["classes"], [[[1]]])
    np.testing.assert_allclose(predictions(of_sides(logits(0.2, 0.4, 0.4)), (1, 1))["confidence"], [[[0.4]]], rtol=1e-5)


def test_logits_are_upsampled_before_softmax():
    """Two features, logits 0 and 8 of the first class: of eight pixels 0, 0, 1, 3, 5, 7, 8, 8; then softmax."""
    logits = tf.constant([[[[0.0, 4.5], [8.0, 4.5]]]])
    expected = 1 / (1 + np.exp(4.5 - np.array([0, 0, 1, 3, 5, 7, 8])))
    np.testing.assert_allclose(probabilities(of_sides(logits), (1, 7))[0, 0, :, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(predictions(of_sides(logits), (3, 7))["classes"], [[[1, 1, 1, 1, 0, 0, 0]] * 3])


def test_sizes_by_hand():
    """Bilinear there, half up; of each pixel the nearest class back, so that no new one comes up."""
    image = np.array([[[10], [20]], [[30], [45]]], "uint8").repeat(3, -1)[None]
    np.testing.assert_array_equal(resize_in(tf.constant(image), (1, 1))[0, 0, 0], [26] * 3)
    assert resize_in(image, (2, 2)) is image
    result = resize_in(tf.constant(image), (2, 4))
    assert result.dtype == tf.uint8
    np.testing.assert_array_equal(result[0, :, :, 0], [[10, 13, 18, 20], [30, 34, 41, 45]])
    small = {"classes": np.array([[[0, 2]]], "uint8"), "confidence": np.array([[[0.25, 0.5]]], "float32")}
    large = resize_back(small, (2, 4))
    assert large["classes"].dtype == tf.uint8
    np.testing.assert_array_equal(large["classes"], [[[0, 0, 2, 2]] * 2])
    np.testing.assert_array_equal(large["confidence"], [[[0.25, 0.25, 0.5, 0.5]] * 2])
