"""LiteRT files, by signature and name: values, sizes of numbers, and metadata."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export.networks import METADATA, SIZE, assert_predicts, decided, photographs, probabilities_of
from helpers import refused
from keras import layers

from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.litert import write_litert

# Agreement of classes and difference of probabilities: float32 differs by rounding; of a random network, which nothing
# has made robust, few bits leave less.
AGREEMENT = {"none": (1.0, 1e-4), "float16": (0.995, 0.02), "dynamic": (0.9, 0.3), "int8": (0.85, 0.4)}


def write(path, network, quantize="none", samples=lambda: photographs(8, *SIZE, seed=60)):
    write_litert(network, path, SIZE, quantize, samples, METADATA)
    return path


def run(path, image):
    segment = Interpreter(str(path)).get_signature_runner("serving_default")
    return segment(image=image[None])


DYNAMIC = pytest.param("dynamic", marks=pytest.mark.slow)


@pytest.mark.parametrize("quantize", ["none", "float16", DYNAMIC, "int8"])
def test_predictions_are_those_of_the_model(litert_files, network, images, quantize):
    least, tolerance = AGREEMENT[quantize]
    for image, probabilities in zip(images, probabilities_of(network, images), strict=True):
        predicted = run(litert_files[quantize], image)
        assert {name: (array.dtype, array.shape) for name, array in predicted.items()} == {
            "classes": (np.uint8, (1, *SIZE)),
            "confidence": (np.float32, (1, *SIZE)),
        }
        classes = predicted["classes"][0]
        assert (classes == probabilities.argmax(-1)).mean() >= least
        of_predicted = np.take_along_axis(probabilities, classes[..., None].astype(int), -1)[..., 0]
        assert np.abs(predicted["confidence"][0] - of_predicted).max() < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("output", ["top", "bottom"])
@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_one_output_is_that_one(network, images, tmp_path, quantize, output):
    classes = run(write(tmp_path / "model.tflite", deployment_graph(network, output, SIZE), quantize), images[0])[
        "classes"
    ]
    agreed = {side: (classes[0] == network.segment(images[0], side)).mean() for side in network.sides}
    assert agreed[output] >= AGREEMENT[quantize][0]
    assert min(agreed.values()) < 0.8


def test_signatures_are_the_documented_ones(litert_files):
    for path in (litert_files["none"], litert_files["int8"]):
        interpreter = Interpreter(str(path))
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["image"], "outputs": ["classes", "confidence"]}
        }
        image = interpreter.get_signature_runner("serving_default").get_input_details()["image"]
        assert (image["dtype"], image["shape"].tolist()) == (np.uint8, [1, *SIZE, 3])


def operations(path):
    """The kinds of a file's operations, with the types of their first two inputs."""
    interpreter = Interpreter(str(path))
    tensors = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    return [
        (operation["op_name"], *(np.dtype(tensors[index]).name for index in operation["inputs"][:2]))
        for operation in interpreter._get_ops_details()
    ]


def convolutions(path):
    return [tuple(types) for name, *types in operations(path) if name in ("CONV_2D", "DEPTHWISE_CONV_2D")]


def test_int8_computes_with_8_bits_up_to_the_logits(litert_files):
    assert len(convolutions(litert_files["int8"])) > 20
    assert {*convolutions(litert_files["int8"])} == {("int8", "int8")}
    upsampled = [types[0] for name, *types in operations(litert_files["int8"]) if name == "RESIZE_BILINEAR"]
    assert upsampled[-2:] == ["float32", "float32"]  # both networks' logits, which come last
    assert set(upsampled[:-2]) == {"int8"}
    last = [
        types[0] for name, *types in operations(litert_files["int8"]) if name in ("SOFTMAX", "ARG_MAX", "REDUCE_MAX")
    ]
    assert set(last) == {"float32"}
    assert {*convolutions(litert_files["none"])} == {("float32", "float32")}


def test_probabilities_of_int8_have_no_steps(litert_files, images):
    assert len(np.unique(run(litert_files["int8"], images[0])["confidence"])) > 512


def stored_types(path):
    """The bytes of all constants in a file, by type."""
    interpreter = Interpreter(str(path))
    sizes = {}
    for tensor in interpreter.get_tensor_details():
        name = np.dtype(tensor["dtype"]).name
        sizes[name] = sizes.get(name, 0) + int(np.prod(tensor["shape"]))
    return sizes


@pytest.mark.parametrize("quantize", ["float16", DYNAMIC, "int8"])
def test_small_weights_are_stored(litert_files, quantize):
    stored = "float16" if quantize == "float16" else "int8"
    assert stored_types(litert_files[quantize])[stored] > 2000
    assert litert_files[quantize].stat().st_size < litert_files["none"].stat().st_size
    assert stored not in stored_types(litert_files["none"])


@pytest.mark.slow
def test_samples_calibrate_the_ranges(network, images, tmp_path):
    """Of black images features have no range: another file, which sees nothing."""
    graph = deployment_graph(network, "ensemble", SIZE)
    write(tmp_path / "dark.tflite", graph, "int8", lambda: np.zeros((4, *SIZE, 3), np.uint8))
    assert (run(tmp_path / "dark.tflite", images[0])["classes"][0] == network.segment(images[0])).mean() < 0.85


def test_metadata_is_inside(litert_files):
    """As unzip reads it, which apps and TensorFlow Lite's own tools do."""
    for path in (litert_files["none"], litert_files["int8"]):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == ["labels.txt", "metadata.json"]
            assert archive.read("labels.txt").decode() == "sky\nroad\ntraffic light\n"
            assert json.loads(archive.read("metadata.json")) == METADATA


class Strange(layers.Layer):
    """Of an operation that TensorFlow Lite lacks."""

    def call(self, features):
        return tf.math.digamma(1 + tf.nn.relu(features))


@pytest.mark.parametrize("quantize", ["none", pytest.param("int8", marks=pytest.mark.slow)])
def test_unsupported_operations_are_named_with_their_layer(tmp_path, quantize):
    image = keras.Input((*SIZE, 3))
    features = Strange(name="odd_one")(layers.Conv2D(3, 4, strides=4, padding="same", name="first")(image))
    message = refused(write, tmp_path / "model.tflite", keras.Model(image, {"top": features}, name="top"), quantize)
    assert message == (
        "TensorFlow Lite does not support Digamma of layer odd_one. Use other layers, or another --format. "
        "Received: output top"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dilated_and_separable_convolutions_survive(pair, tmp_path):
    """At output stride 8, where the most are dilated."""
    model, image = (
        decided(pair(top="tiny_xception", bottom="tiny_resnet", output_stride=8)),
        photographs(1, *SIZE, seed=9),
    )
    predicted = run(write(tmp_path / "model.tflite", deployment_graph(model, "ensemble", SIZE)), image[0])
    assert_predicts(predicted, probabilities_of(model, image))
