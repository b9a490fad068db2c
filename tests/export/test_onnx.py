"""ONNX files, run by onnxruntime: values, at any size or one, and metadata."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from export.networks import METADATA, assert_predicts, decided, photographs, probabilities_of
from helpers import refused
from keras import layers

from keras_crosscoop.export import load_exported
from keras_crosscoop.export.deployment import deployment_graph, predictions
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.parity import live
from keras_crosscoop.layers import AtrousConv2D, AtrousMaxPooling2D


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def run(path, images):
    names = ["classes", "confidence"]
    return dict(zip(names, session(path).run(names, {"image": images}), strict=True))


@pytest.mark.parametrize(("count", "size"), [(3, (33, 47)), (1, (97, 130)), (2, (3, 1))])
def test_predictions_are_those_of_the_model(onnx_file, network, count, size):
    images = photographs(count, *size, seed=30)
    assert_predicts(run(onnx_file, images), probabilities_of(network, images))


def small_network(*layers_within):
    """Logits of one network at a quarter of the image."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    features = layers.Conv2D(4, 4, strides=4, padding="same")(layers.Rescaling(1 / 64, -2)(image))
    if layers_within:
        features = layers.Concatenate()([layer(features) for layer in layers_within])
    features = layers.Conv2D(4, 3, padding="valid" if layers_within else "same", dilation_rate=2)(features)
    return keras.Model(image, {"top": layers.Conv2D(3, 1)(features)}, name="top")


@pytest.fixture(scope="module")
def sized(tmp_path_factory):
    """A network and its file, for the size 32x48."""
    network, path = small_network(), tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(network, path, (32, 48), METADATA)
    return network, path


@pytest.mark.parametrize("other", [(70, 101), (20, 31)])  # at twice the size, many means would lie between two integers
def test_images_are_resized_in_and_class_maps_back(sized, other):
    (network, path), size = sized, (32, 48)
    images = photographs(2, *other)
    predicted = run(path, images)
    resized = tf.floor(tf.image.resize(images.astype("float32"), size) + 0.501)
    scores = tf.nn.softmax(tf.image.resize(network(resized)["top"], size))
    rows, columns = (((np.arange(n) + 0.5) * m / n).astype(int) for n, m in zip(other, size, strict=True))
    expected = scores.numpy()[:, rows][:, :, columns]
    assert (predicted["classes"] == expected.argmax(-1)).mean() > 0.995
    np.testing.assert_allclose(predicted["confidence"], expected.max(-1), atol=5e-3)  # a few inputs round differently


@pytest.mark.slow
@pytest.mark.parametrize("output", ["top", "bottom"])
def test_one_output_at_one_size(network, tmp_path, output):
    path, size = tmp_path / "model.onnx", (33, 47)
    write_onnx(deployment_graph(network, output, size), path, size, METADATA)
    images = photographs(2, *size, seed=30)
    assert_predicts(run(path, images), probabilities_of(network, images, output))
    image = photographs(1, 70, 101)[0]
    expected, predicted = live(network, output, size)(image), load_exported(path)(image)
    assert (predicted["classes"] == expected.argmax(-1)).mean() > 0.995


@pytest.mark.parametrize("wrong", [np.zeros((1, 40, 56, 4)), np.zeros((40, 56, 3))])
def test_wrong_shapes_are_refused_and_the_session_goes_on(onnx_file, wrong):
    segment = session(onnx_file)
    with pytest.raises(Exception, match=r"image|[Dd]imension|[Ss]hape"):
        segment.run(None, {"image": wrong.astype(np.uint8)})
    assert segment.run(["classes"], {"image": photographs(1, 40, 56)})[0].shape == (1, 40, 56)


def test_inputs_and_outputs_are_the_documented_ones(onnx_file):
    segment = session(onnx_file)
    (image,) = segment.get_inputs()
    assert (image.name, image.type, image.shape[3]) == ("image", "tensor(uint8)", 3)
    assert not any(isinstance(length, int) for length in image.shape[:3])
    assert {output.name: output.type for output in segment.get_outputs()} == {
        "classes": "tensor(uint8)",
        "confidence": "tensor(float)",
    }


def test_the_file_is_valid_has_metadata_and_no_normalisation(onnx_file):
    file = onnx.load(onnx_file)
    onnx.checker.check_model(file, full_check=True)
    assert {entry.key: entry.value for entry in file.metadata_props} == {
        "classes": json.dumps(METADATA["classes"]),
        "palette": json.dumps(METADATA["palette"]),
        "format": "a",
        "size": "null",
    }
    assert not [node for node in file.graph.node if node.op_type == "BatchNormalization"]


def test_dilated_layers(tmp_path):
    """Onnxruntime pads dilated convolutions wrongly or not at all."""
    network = small_network(
        AtrousConv2D(4, 3, padding="same", dilation_rate=3),
        layers.DepthwiseConv2D((5, 3), padding="same", dilation_rate=2),
        layers.SeparableConv2D(4, 3, padding="same", dilation_rate=2),
        AtrousMaxPooling2D(3, 2),
    )
    write_onnx(network, tmp_path / "model.onnx", None, METADATA)
    images = photographs(2, 48, 64, seed=30)
    predicted = run(tmp_path / "model.onnx", images)
    expected = {name: np.asarray(array) for name, array in predictions(network(images), (48, 64)).items()}
    assert expected["confidence"].std() > 0.01
    np.testing.assert_allclose(predicted["confidence"], expected["confidence"], atol=1e-5)
    assert (predicted["classes"] == expected["classes"]).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet", "xception"])
def test_dilated_backbones(pair, tmp_path, backbone):
    """At output stride 8, where the most is dilated."""
    model = decided(pair(bottom={"name": backbone}, output_stride=8, topology="none"))
    write_onnx(deployment_graph(model, "bottom"), tmp_path / "model.onnx", None, METADATA)
    images = photographs(1, 40, 56, seed=30)
    assert_predicts(run(tmp_path / "model.onnx", images), probabilities_of(model, images, "bottom"))


class Strange(layers.Layer):
    """Of an operation that ONNX lacks."""

    def call(self, features):
        return tf.math.digamma(1 + tf.nn.relu(features))

    def compute_output_shape(self, shape):
        return shape


def test_unsupported_operations_are_named_with_their_layer(tmp_path, caplog):
    image = keras.Input((None, None, 3))
    features = Strange(name="odd_one")(layers.Conv2D(3, 4, strides=4, padding="same", name="first")(image))
    network = keras.Model(image, {"top": features}, name="top")
    assert refused(write_onnx, network, tmp_path / "model.onnx", None, METADATA) == (
        "ONNX does not support Digamma of layer odd_one. Use other layers, or another --format. Received: output top"
    )
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []
