"""TensorFlow's optimizer fuses the exported graph; the test that says so tells when the workaround can go."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from export.networks import kinds, photographs, values
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.eager import context

from keras_crosscoop import CrossCoop
from keras_crosscoop.export import saved_model as module
from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.upsampling import conv_before_upsample

BIASES, ACTIVATIONS = ({f"{kind}{op}" for kind in ("", "_Mkl", "_MklNative")} for op in ("BiasAdd", "Relu"))


def executed(folder):
    """The nodes of the graph that TensorFlow really runs for a request."""
    segment = tf.saved_model.load(str(folder)).signatures["serving_default"]
    context.context().enable_graph_collection()
    try:
        segment(image=tf.constant(photographs(1, 40, 56)))
        metadata = context.context().export_run_metadata()
    finally:
        context.context().disable_graph_collection()
    return [node for partition in metadata.partition_graphs for node in partition.node]


def fused(nodes):
    return [node for node in nodes if "Fused" in node.op and "conv2d" in node.op.lower()]


def loose(nodes):
    """Biases, and activations of what only they read of a convolution: passes over memory that need not be."""
    readers = Counter(name.split(":")[0] for node in nodes for name in node.input)
    alone = {node.name for node in nodes if "Conv2D" in node.op and readers[node.name] == 1}
    return [
        node.name
        for node in nodes
        if node.op in BIASES or (node.op in ACTIVATIONS and node.input[0].split(":")[0] in alone)
    ]


@pytest.fixture(scope="module")
def sums():
    """The graph of a network with two sums after each other, which TensorFlow fails at."""
    model = CrossCoop(3, top="tiny_xception", bottom="tiny_resnet", decoder_channels=8, weights=None)
    return deployment_graph(model, "ensemble")


@pytest.mark.slow
def test_biases_and_activations_are_fused_into_convolutions(sums, tmp_path):
    module.write_saved_model(sums, tmp_path / "1")
    nodes = executed(tmp_path / "1")
    convolutions = sum("Conv2D" in kind for kind in kinds(sums))
    assert len(fused(nodes)) > 0.9 * convolutions > 50
    assert loose(nodes) == []


@pytest.mark.slow
def test_without_the_workaround_they_are_not(sums, tmp_path, monkeypatch):
    """If this fails, TensorFlow's remapper is mended: see whether `with_fused_bias` can go."""
    monkeypatch.setattr(module, "with_fused_bias", lambda model: model)
    module.write_saved_model(sums, tmp_path / "1")
    nodes = executed(tmp_path / "1")
    assert fused(nodes) == []
    assert len(loose(nodes)) > 40


def test_saved_models_have_the_workaround(saved_model):
    """In each of the two networks the two terms of the decoder's sum pass through an operation."""
    graph = (
        saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes()).meta_graphs[0].graph_def
    )
    names = {node.name for function in graph.library.function for node in function.node_def if node.op == "EnsureShape"}
    assert len({name for name in names if "barrier" in name.lower()}) == 4


def test_nothing_but_sums_is_changed(graph_of):
    """Each of a sum's terms passes through one more layer, which has no weights and keeps values and shapes."""
    graph = conv_before_upsample(graph_of("ensemble"))
    copy, images = module.with_fused_bias(graph), photographs(2, 33, 47)
    assert copy.count_params() == graph.count_params()
    more = len(list(copy._flatten_layers())) - len(list(graph._flatten_layers()))
    terms = sum(len(layer.input) for layer in graph._flatten_layers() if type(layer).__name__ == "Add")
    assert more == terms >= 4
    result, expected = values(copy, images), values(graph, images)
    for side in ("top", "bottom"):
        np.testing.assert_array_equal(result[side], expected[side])
    assert copy.output_shape == graph.output_shape
