"""What leaves the package holds what its output needs, and nothing that only training or another output does."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from export.networks import assert_near, decided, lively, photographs, values

from keras_crosscoop import DeepLabV3Plus
from keras_crosscoop.export.deployed import deployed, fitted, probable, restored, told


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


def test_of_networks_side_by_side_one_leaves_alone(pair):
    model = pair(topology="none")
    for side, other in (("top", "bottom"), ("bottom", "top")):
        left = paths(deployed(model, side))
        assert {path.split("_")[0] for path in left} == {side}
        assert {path for path in paths(model) if not path.endswith("_bn")} == left | paths(deployed(model, other))


def test_of_networks_that_read_each_other_only_the_other_classifier_goes(pair):
    model = pair(topology="cross")
    everything = paths(deployed(model, "ensemble"))
    assert everything == {path for path in paths(model) if not path.endswith("_bn")}
    assert everything - paths(deployed(model, "top")) == {"bottom_classifier"}
    assert everything - paths(deployed(model, "bottom")) == {"top_classifier"}


def test_without_connections_in_the_decoder_the_other_decoder_goes(pair):
    """Whose features nobody reads; ASPP's are read."""
    model = pair(topology="cross", sites=("backbone", "aspp", "aspp_output"))
    gone = paths(deployed(model, "ensemble")) - paths(deployed(model, "top"))
    assert gone == {f"bottom_{name}" for name in ("decoder_low_conv", "decoder_1_conv", "decoder_2_conv", "classifier")}


def test_who_only_sends_leaves_alone(pair):
    model = pair(topology="one_way")
    assert {path.split("_")[0] for path in paths(deployed(model, "top"))} == {"top"}
    everything = paths(deployed(model, "ensemble"))
    assert everything - paths(deployed(model, "bottom")) == {"top_classifier"}


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
    assert deployed(model, "single").count_params() == backbone + aspp + decoder
    assert model.count_params() > backbone + aspp + decoder


@pytest.mark.parametrize("output", ["top", "bottom", "ensemble"])
def test_parameters_are_those_of_the_network_less_normalisation(pair, output):
    model = pair(topology="cross")
    other = {"top": "bottom_classifier", "bottom": "top_classifier", "ensemble": None}[output]
    expected = folded_size(model, lambda layer: layer != other)
    assert deployed(model, output).count_params() == expected
    assert expected < sum(weight.shape.num_elements() for weight in model.trainable_weights)


@pytest.mark.parametrize("output", ["top", "bottom", "ensemble"])
@pytest.mark.parametrize(("count", "size"), [(1, (40, 56)), (2, (33, 47)), (3, (64, 32)), (1, (16, 16)), (2, (1, 5))])
def test_probabilities_are_those_of_the_model(network, output, count, size):
    """Softmax by NumPy, of logits that the model itself has enlarged and cut."""
    images = photographs(count, *size, seed=20)
    logits = deployed(network, output)(images, training=False)
    found = np.asarray(probable(logits, size))
    of_model = values(network, images)
    expected = [np.exp(of_model[side]) for side in (network.sides if output == "ensemble" else [output])]
    expected = np.mean([each / each.sum(-1, keepdims=True) for each in expected], axis=0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    of_graph = {key: np.asarray(value) for key, value in told(logits, size).items()}
    assert {key: (value.dtype, value.shape) for key, value in of_graph.items()} == {
        "classes": (np.uint8, (count, *size)),
        "confidence": (np.float32, (count, *size)),
    }
    np.testing.assert_allclose(of_graph["confidence"], expected.max(-1), atol=1e-5)
    first, second = np.sort(expected, axis=-1)[..., -1], np.sort(expected, axis=-1)[..., -2]
    sure = first - second > 1e-4
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(of_graph["classes"][sure], expected.argmax(-1)[sure])


def test_the_runs_outputs_are_no_guess(network):
    """What is compared everywhere here has several classes, and sees more than one network."""
    images = photographs(1, 40, 56, seed=20)
    told_by = {output: network.segment(images[0], output) for output in network.output_choices}
    for classes in told_by.values():
        assert min(np.bincount(classes.ravel(), minlength=3)) > 50
    assert (told_by["top"] != told_by["bottom"]).mean() > 0.2
    assert (told_by["ensemble"] != told_by["top"]).mean() > 0.05


def test_a_size_can_be_fixed(network):
    fixed = deployed(network, "ensemble", (40, 56))
    assert fixed.input_shape == (None, 40, 56, 3)
    quarter = (None, 12, 16, 3)  # of 48 x 64, padded
    assert {side: logits.shape for side, logits in fixed.output.items()} == {"top": quarter, "bottom": quarter}
    images = photographs(1, 40, 56, seed=20)
    assert_near(values(fixed, images), values(deployed(network, "ensemble"), images))


def test_the_model_stays_as_it_is(pair):
    model = lively(pair())
    config, weights = model.to_json(), model.get_weights()
    names, images = [weight.path for weight in model.weights], photographs(1, 40, 56)
    expected = values(model, images)
    deployed(model, "ensemble")
    deployed(model, "top", (40, 56))
    assert model.to_json() == config
    assert [weight.path for weight in model.weights] == names
    for found, before in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, before)
    np.testing.assert_array_equal(values(model, images)["top"], expected["top"])


def test_a_network_trained_in_half_precision_leaves_in_full(pair):
    exact = decided(pair())
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        half = pair()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(exact.get_weights())
    images = photographs(1, 40, 56, seed=20)
    found, expected = (probable(deployed(model, "ensemble")(images), (40, 56)) for model in (half, exact))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def of_sides(*logits):
    return dict(zip(("top", "bottom"), logits, strict=False))


def test_told_by_hand():
    """Of two networks the mean of probabilities decides, not of logits; ties go to the first class; edges go.

    Both see one feature, so that enlarging it to four by four pixels makes sixteen of the same.
    """

    def logits(*probabilities, plus=0):
        return tf.constant((np.log(probabilities) + plus).reshape(1, 1, 1, -1), tf.float32)

    found = told(of_sides(logits(0.2, 0.8), logits(0.7, 0.3, plus=100)), (2, 3))
    np.testing.assert_array_equal(found["classes"], np.ones((1, 2, 3)))
    np.testing.assert_allclose(found["confidence"], np.full((1, 2, 3), 0.55), rtol=1e-5)
    np.testing.assert_allclose(
        probable(of_sides(logits(0.2, 0.8), logits(0.7, 0.3, plus=100)), (1, 4)), [[[[0.45, 0.55]] * 4]], rtol=1e-5
    )
    np.testing.assert_array_equal(told(of_sides(logits(0.2, 0.4, 0.4)), (1, 1))["classes"], [[[1]]])
    np.testing.assert_allclose(told(of_sides(logits(0.2, 0.4, 0.4)), (1, 1))["confidence"], [[[0.4]]], rtol=1e-5)


def test_logits_are_enlarged_before_they_become_probabilities():
    """Two features, logits 0 and 8 of the first class: of eight pixels 0, 0, 1, 3, 5, 7, 8, 8; then softmax."""
    logits = tf.constant([[[[0.0, 4.5], [8.0, 4.5]]]])
    expected = 1 / (1 + np.exp(4.5 - np.array([0, 0, 1, 3, 5, 7, 8])))
    np.testing.assert_allclose(probable(of_sides(logits), (1, 7))[0, 0, :, 0], expected, rtol=1e-5)
    np.testing.assert_array_equal(told(of_sides(logits), (3, 7))["classes"], [[[1, 1, 1, 1, 0, 0, 0]] * 3])


def test_sizes_by_hand():
    """Bilinear there, half up; of each pixel the nearest class back, so that no new one comes up."""
    image = np.array([[[10], [20]], [[30], [45]]], "uint8").repeat(3, -1)[None]
    np.testing.assert_array_equal(fitted(tf.constant(image), (1, 1))[0, 0, 0], [26] * 3)
    assert fitted(image, (2, 2)) is image
    found = fitted(tf.constant(image), (2, 4))
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found[0, :, :, 0], [[10, 13, 18, 20], [30, 34, 41, 45]])
    small = {"classes": np.array([[[0, 2]]], "uint8"), "confidence": np.array([[[0.25, 0.5]]], "float32")}
    large = restored(small, (2, 4))
    assert large["classes"].dtype == tf.uint8
    np.testing.assert_array_equal(large["classes"], [[[0, 0, 2, 2]] * 2])
    np.testing.assert_array_equal(large["confidence"], [[[0.25, 0.25, 0.5, 0.5]] * 2])
