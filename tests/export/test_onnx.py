"""ONNX files, run by onnxruntime: values, at any size or one, and what describes them."""

import json
import sys

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from export.networks import decided, photographs
from helpers import refused
from keras import layers

from keras_crosscoop.export.deployed import deployed, told
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.parity import live
from keras_crosscoop.export.running import opened
from keras_crosscoop.layers import AtrousConv2D, AtrousMaxPooling2D

DESCRIBED = {"classes": ["road", "sky", "car"], "format": "onnx", "size": None}


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def assert_told(path, model, images, output="ensemble"):
    """As the live model tells it, but where two classes are as good as alike."""
    names = ["classes", "confidence"]
    found = dict(zip(names, session(path).run(names, {"image": images}), strict=True))
    assert {name: (array.dtype, array.shape) for name, array in found.items()} == {
        "classes": (np.uint8, images.shape[:3]),
        "confidence": (np.float32, images.shape[:3]),
    }
    for number, image in enumerate(images):
        classes, probabilities = model.segment(image, output, probabilities=True)
        ordered = np.sort(probabilities, axis=-1)
        assert np.all((found["classes"][number] == classes) | (ordered[..., -1] - ordered[..., -2] < 1e-4))
        np.testing.assert_allclose(found["confidence"][number], ordered[..., -1], atol=1e-4)


@pytest.fixture(scope="module")
def any_size(tmp_path_factory, network):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(deployed(network, "ensemble"), path, None, DESCRIBED)
    return path


@pytest.mark.parametrize(("count", "size"), [(1, (40, 56)), (3, (33, 47)), (2, (64, 16)), (1, (97, 130)), (2, (3, 1))])
def test_it_tells_what_the_model_tells(any_size, network, count, size):
    assert_told(any_size, network, photographs(count, *size, seed=30))


@pytest.mark.parametrize("output", ["top", pytest.param("bottom", marks=pytest.mark.slow)])
def test_one_output_at_one_size(network, tmp_path, output):
    """Images of other sizes are brought to it, and class maps back, inside."""
    write_onnx(deployed(network, output, (33, 47)), tmp_path / "model.onnx", (33, 47), DESCRIBED)
    images = photographs(2, 33, 47, seed=30)
    assert_told(tmp_path / "model.onnx", network, images, output)
    exported = opened(tmp_path / "model.onnx")
    for size in ((70, 101), (20, 31)):  # at twice the size, many means would lie between two whole numbers
        image = photographs(1, *size)[0]
        expected = live(network, output, (33, 47))(image)
        found = exported(image)
        assert (found["classes"] == expected.argmax(-1)).mean() > 0.995
        # few of the pixels seen are rounded to the next number
        np.testing.assert_allclose(found["confidence"], expected.max(-1), atol=5e-3)


@pytest.mark.parametrize("wrong", [np.zeros((1, 40, 56, 4)), np.zeros((40, 56, 3))])
def test_wrong_shapes_are_told_and_it_goes_on(any_size, network, wrong):
    segment = session(any_size)
    with pytest.raises(Exception, match=r"image|[Dd]imension|[Ss]hape"):
        segment.run(None, {"image": wrong.astype(np.uint8)})
    assert_told(any_size, network, photographs(1, 40, 56, seed=30))


def test_inputs_and_outputs_are_the_documented_ones(any_size):
    opened_file = session(any_size)
    (image,) = opened_file.get_inputs()
    assert (image.name, image.type, image.shape[3]) == ("image", "tensor(uint8)", 3)
    assert not any(isinstance(length, int) for length in image.shape[:3])
    assert {output.name: output.type for output in opened_file.get_outputs()} == {
        "classes": "tensor(uint8)",
        "confidence": "tensor(float)",
    }
    assert opened(any_size).size is None


def test_the_file_is_valid_and_says_what_it_is(any_size):
    file = onnx.load(any_size)
    onnx.checker.check_model(file, full_check=True)
    properties = {each.key: each.value for each in file.metadata_props}
    assert properties == {"classes": json.dumps(["road", "sky", "car"]), "format": "onnx", "size": "null"}


def test_no_normalisation_is_left(any_size):
    assert not [node for node in onnx.load(any_size).graph.node if node.op_type == "BatchNormalization"]


DILATED = {
    "convolution": lambda: AtrousConv2D(4, 3, padding="same", dilation_rate=3),
    "depthwise": lambda: layers.DepthwiseConv2D((5, 3), padding="same", dilation_rate=2),
    "separable": lambda: layers.SeparableConv2D(4, 3, padding="same", dilation_rate=2),
    "pooling": lambda: AtrousMaxPooling2D(3, 2),
    "unpadded": lambda: layers.Conv2D(4, 3, padding="valid", dilation_rate=2),
}


@pytest.mark.parametrize("kind", DILATED)
def test_dilated_layers(tmp_path, kind):
    """Onnxruntime pads dilated convolutions wrongly or not at all."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    features = layers.Conv2D(4, 4, strides=4, padding="same")(layers.Rescaling(1 / 64, -2)(image))
    features = DILATED[kind]()(features)
    network = keras.Model(image, {"top": layers.Conv2D(3, 1)(features)}, name="top")
    write_onnx(network, tmp_path / "model.onnx", None, DESCRIBED)
    images = photographs(2, 48, 64, seed=30)
    classes, confidence = session(tmp_path / "model.onnx").run(["classes", "confidence"], {"image": images})
    expected = {name: np.asarray(each) for name, each in told(network(images), (48, 64)).items()}
    assert expected["confidence"].std() > 0.01
    np.testing.assert_allclose(confidence, expected["confidence"], atol=1e-5)
    assert (classes == expected["classes"]).mean() > 0.999


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet", "xception"])
def test_dilated_backbones(pair, tmp_path, backbone):
    """At output stride 8, where the most is dilated."""
    model = decided(pair(bottom={"name": backbone}, output_stride=8, topology="none"))
    write_onnx(deployed(model, "bottom"), tmp_path / "model.onnx", None, DESCRIBED)
    assert_told(tmp_path / "model.onnx", model, photographs(1, 40, 56, seed=30), "bottom")


class Strange(layers.Layer):
    """Of an operation that ONNX lacks."""

    def call(self, features):
        return tf.math.digamma(1 + tf.nn.relu(features))

    def compute_output_shape(self, shape):
        return shape


def test_what_cannot_be_converted_is_named(tmp_path, caplog):
    """The operation, and the layer that needs it."""
    image = keras.Input((None, None, 3))
    features = Strange(name="odd_one")(layers.Conv2D(3, 4, strides=4, padding="same", name="first")(image))
    network = keras.Model(image, {"top": features}, name="top")
    message = refused(write_onnx, network, tmp_path / "model.onnx", None, DESCRIBED)
    assert message == (
        "ONNX has no operation for Digamma of layer odd_one. Use others, or another --format. Received: output top"
    )
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


def test_onnxruntime_is_asked_for_where_it_is_missing(any_size, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    message = refused(opened, any_size)
    assert message == (f'ONNX files are run by onnxruntime: pip install "keras-crosscoop[onnx]". Received: {any_size}')
