"""TensorFlow's optimizer fuses the exported graph; the test that says so tells when the workaround can go."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from export.networks import kinds, photographs, values
from tensorflow.python.eager import context

from keras_crosscoop.export import saved_model as module
from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.fusing import fusable
from keras_crosscoop.export.upsampling import enlarged_last

BIASES, ACTIVATIONS = ({f"{kind}{op}" for kind in ("", "_Mkl", "_MklNative")} for op in ("BiasAdd", "Relu"))


@pytest.fixture(scope="module")
def graph(network):
    return enlarged_last(deployed(network, "ensemble"))


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


def test_biases_and_activations_are_fused_into_convolutions(saved_model, graph):
    nodes = executed(saved_model)
    convolutions = sum("Conv2D" in kind for kind in kinds(graph))
    assert len(fused(nodes)) > 0.9 * convolutions > 50
    assert loose(nodes) == []


def test_without_the_workaround_they_are_not(network, tmp_path, monkeypatch):
    """If this fails, TensorFlow's remapper is mended: see whether `fusable` can go."""
    monkeypatch.setattr(module, "fusable", lambda model: model)
    module.write_saved_model(deployed(network, "ensemble"), tmp_path / "1")
    nodes = executed(tmp_path / "1")
    assert fused(nodes) == []
    assert len(loose(nodes)) > 40


def test_nothing_but_sums_is_changed(graph):
    """Each of a sum's terms passes through one more layer, which has no weights and keeps values and shapes."""
    copy, images = fusable(graph), photographs(2, 33, 47)
    assert copy.count_params() == graph.count_params()
    more = len(list(copy._flatten_layers())) - len(list(graph._flatten_layers()))
    terms = sum(len(layer.input) for layer in graph._flatten_layers() if type(layer).__name__ == "Add")
    assert more == terms > 8
    found, expected = values(copy, images), values(graph, images)
    for side in ("top", "bottom"):
        np.testing.assert_array_equal(found[side], expected[side])
    assert copy.output_shape == graph.output_shape
