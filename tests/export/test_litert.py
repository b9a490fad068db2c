"""LiteRT files, by signature and name: values, numbers that are really small, and what describes them."""

import json
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export.networks import photographs, values
from helpers import refused
from keras import layers

from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.litert import write_litert
from keras_crosscoop.export.running import opened

SIZE = (40, 56)
DESCRIBED = {"classes": ["sky", "road", "traffic light"], "palette": ["#000000"], "size": SIZE}
# How often classes and how nearly probabilities are the live model's: float32 up to rounding; of a random network,
# which nothing has made robust, few bits leave less.
AGREEMENT = {"none": (1.0, 1e-4), "float16": (0.995, 0.02), "dynamic": (0.9, 0.3), "int8": (0.9, 0.3)}


def samples():
    return photographs(8, *SIZE, seed=60)


def written(path, network, quantize="none", size=SIZE, described=DESCRIBED):
    write_litert(network, path, size, quantize, samples, described)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory, network):
    """A file of the ensemble, quantised in each way."""
    folder, graph = tmp_path_factory.mktemp("litert"), deployed(network, "ensemble", SIZE)
    return {quantize: written(folder / f"{quantize}.tflite", graph, quantize) for quantize in AGREEMENT}


def run(path, image):
    segment = Interpreter(str(path)).get_signature_runner("serving_default")
    return segment(image=image[None])


@pytest.mark.parametrize("quantize", AGREEMENT)
def test_it_tells_what_the_model_tells(files, network, images, quantize):
    least, tolerance = AGREEMENT[quantize]
    for image in images:
        found = run(files[quantize], image)
        classes, probabilities = network.segment(image, probabilities=True)
        assert {key: (value.dtype, value.shape) for key, value in found.items()} == {
            "classes": (np.uint8, (1, *SIZE)),
            "confidence": (np.float32, (1, *SIZE)),
        }
        assert (found["classes"][0] == classes).mean() >= least
        of_told = np.take_along_axis(probabilities, found["classes"][0][..., None].astype(int), -1)[..., 0]
        assert np.abs(found["confidence"][0] - of_told).max() < tolerance


@pytest.mark.parametrize(
    ("output", "quantize"),
    [
        ("top", "none"),
        ("bottom", "int8"),
        pytest.param("bottom", "none", marks=pytest.mark.slow),
        pytest.param("top", "int8", marks=pytest.mark.slow),
    ],
)
def test_one_output_is_that_one(network, images, tmp_path, quantize, output):
    found = run(written(tmp_path / "model.tflite", deployed(network, output, SIZE), quantize), images[0])
    agreed = {side: (found["classes"][0] == network.segment(images[0], side)).mean() for side in network.sides}
    assert agreed[output] >= AGREEMENT[quantize][0]
    assert min(agreed.values()) < 0.8


def test_signatures_are_the_documented_ones(files):
    for path in files.values():
        interpreter = Interpreter(str(path))
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["image"], "outputs": ["classes", "confidence"]}
        }
        segment = interpreter.get_signature_runner("serving_default")
        image = segment.get_input_details()["image"]
        assert (image["dtype"], image["shape"].tolist()) == (np.uint8, [1, *SIZE, 3])


def contents(path):
    """The kinds of a file's operations, with the types of what they read."""
    interpreter = Interpreter(str(path))
    tensors = {tensor["index"]: tensor["dtype"] for tensor in interpreter.get_tensor_details()}
    return [
        (operation["op_name"], *(np.dtype(tensors[index]).name for index in operation["inputs"][:2]))
        for operation in interpreter._get_ops_details()
    ]


def convolutions(path):
    return [types for name, *types in contents(path) if name in ("CONV_2D", "DEPTHWISE_CONV_2D")]


def test_int8_computes_with_8_bits(files):
    """Each convolution reads int8 features and int8 weights; after logits nothing does."""
    computed = contents(files["int8"])
    assert len(convolutions(files["int8"])) > 40
    assert {tuple(types) for types in convolutions(files["int8"])} == {("int8", "int8")}
    enlarged = [types[0] for name, *types in computed if name == "RESIZE_BILINEAR"]
    assert enlarged[-2:] == ["float32", "float32"]  # both networks' logits, which come last
    assert set(enlarged[:-2]) == {"int8"}
    assert {types[0] for name, *types in computed if name in ("SOFTMAX", "ARG_MAX", "REDUCE_MAX")} == {"float32"}
    assert all(tuple(types) == ("float32", "float32") for types in convolutions(files["none"]))


def test_small_numbers_take_less_room(files, network):
    """Two bytes a weight, then one."""
    weights = deployed(network, "ensemble").count_params()
    sizes = {quantize: path.stat().st_size / weights for quantize, path in files.items()}
    assert 4 < sizes["none"] < 4.6
    assert 2 < sizes["float16"] < 2.6
    for quantize in ("dynamic", "int8"):
        assert 1 < sizes[quantize] < 1.6


def test_probabilities_of_int8_have_no_steps(files, images):
    found = run(files["int8"], images[0])["confidence"]
    assert len(np.unique(found)) > 512


def test_samples_tell_the_range(network, images, tmp_path):
    """Of images that are all black features have no range: another file, which sees nothing."""
    graph = deployed(network, "ensemble", SIZE)
    write_litert(graph, tmp_path / "dark.tflite", SIZE, "int8", lambda: np.zeros((4, *SIZE, 3), np.uint8), DESCRIBED)
    classes = network.segment(images[0])
    assert (run(tmp_path / "dark.tflite", images[0])["classes"][0] == classes).mean() < 0.85


def test_what_describes_a_file_is_inside(files):
    """As unzip reads it, which apps and TensorFlow Lite's own tools do."""
    for path in files.values():
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == ["labels.txt", "metadata.json"]
            assert archive.read("labels.txt").decode() == "sky\nroad\ntraffic light\n"
            assert json.loads(archive.read("metadata.json")) == json.loads(json.dumps(DESCRIBED))


def test_tensorflow_runs_it_where_litert_is_missing(files, images, monkeypatch):
    expected = opened(files["none"])(images[0])
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    used = []
    interpreter = tf.lite.Interpreter
    monkeypatch.setattr(
        tf.lite, "Interpreter", lambda *args, **options: used.append(1) or interpreter(*args, **options)
    )
    found = opened(files["none"])(images[0])
    assert used
    np.testing.assert_array_equal(found["classes"], expected["classes"])
    np.testing.assert_allclose(found["confidence"], expected["confidence"], atol=1e-5)


class Strange(layers.Layer):
    """Of an operation that TensorFlow Lite lacks."""

    def call(self, features):
        return tf.math.digamma(1 + tf.nn.relu(features))


@pytest.mark.parametrize("quantize", ["none", "int8"])
def test_what_cannot_be_converted_is_named(tmp_path, quantize):
    """The operation, and the layer that needs it."""
    image = keras.Input((*SIZE, 3))
    features = Strange(name="odd_one")(layers.Conv2D(3, 4, strides=4, padding="same", name="first")(image))
    message = refused(written, tmp_path / "model.tflite", keras.Model(image, {"top": features}, name="top"), quantize)
    assert message == (
        "TensorFlow Lite has no operation for Digamma of layer odd_one. Use others, or another --format. "
        "Received: output top"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_dilated_and_separable_convolutions_survive(pair, tmp_path):
    """At output stride 8, where the most are dilated."""
    from export.networks import decided

    model, image = decided(pair(output_stride=8)), photographs(1, *SIZE, seed=9)
    found = run(written(tmp_path / "model.tflite", deployed(model, "ensemble", SIZE)), image[0])
    logits = values(model, image)
    expected = np.mean([np.exp(each) / np.exp(each).sum(-1, keepdims=True) for each in logits.values()], axis=0)
    np.testing.assert_allclose(found["confidence"], expected.max(-1), atol=1e-4)
