"""TensorFlow's optimizer fuses the exported graph; the test that says so tells when the workaround can go."""

from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from export.networks import photographs

from keras_crosscoop.export.deployed import deployed, frozen
from keras_crosscoop.export.fusing import fusable
from keras_crosscoop.export.upsampling import enlarged_last

BIASES, ACTIVATIONS = ({f"{kind}{op}" for kind in ("", "_Mkl", "_MklNative")} for op in ("BiasAdd", "Relu"))


@pytest.fixture(scope="module")
def graph(network):
    return enlarged_last(deployed(network, "ensemble"))


def frozen_function(model):
    image = tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")
    return frozen(lambda image: model(tf.cast(image, tf.float32), training=False), image)


def executed(model, images):
    """The nodes of the graph that TensorFlow really runs, and what it finds."""
    function = frozen_function(model)
    with tf.Graph().as_default() as graph:
        tf.graph_util.import_graph_def(function.graph.as_graph_def(), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            metadata = tf.compat.v1.RunMetadata()
            found = session.run(
                [tensor.name for tensor in function.outputs],
                {function.inputs[0].name: images},
                options=tf.compat.v1.RunOptions(output_partition_graphs=True),
                run_metadata=metadata,
            )
    return [node for partition in metadata.partition_graphs for node in partition.node], found


def fused(nodes):
    return [node for node in nodes if "Fused" in node.op and "Conv2D" in node.op]


def loose(nodes):
    """Biases, and activations of what only they read of a convolution: passes over memory that need not be."""
    readers = Counter(name.split(":")[0] for node in nodes for name in node.input)
    alone = {node.name for node in nodes if "Conv2D" in node.op and readers[node.name] == 1}
    return [
        node.name
        for node in nodes
        if node.op in BIASES or (node.op in ACTIVATIONS and node.input[0].split(":")[0] in alone)
    ]


def test_biases_and_activations_are_fused_into_convolutions(graph):
    nodes, found = executed(fusable(graph), photographs(1, 40, 56))
    names = [layer.name for layer in graph._flatten_layers(include_self=False)]
    convolutions = [name for name in names if name.endswith(("_conv", "_shortcut", "_classifier"))]
    assert len(fused(nodes)) > len(convolutions) / 2
    assert loose(nodes) == []
    for ours, expected in zip(found, graph(photographs(1, 40, 56)), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_without_the_workaround_nothing_is(graph):
    """If this fails, TensorFlow's remapper is mended: see whether `fusable` can go."""
    nodes, _ = executed(graph, photographs(1, 40, 56))
    assert fused(nodes) == []
    assert len(loose(nodes)) > 20


def test_nothing_but_sums_is_changed(graph):
    """Each of a sum's terms passes through one more layer, which has no weights and keeps values and shapes."""
    copy, images = fusable(graph), photographs(2, 33, 47)
    assert copy.count_params() == graph.count_params()
    more = len(list(copy._flatten_layers())) - len(list(graph._flatten_layers()))
    terms = sum(len(layer.input) for layer in graph._flatten_layers() if type(layer).__name__ == "Add")
    assert more == terms > 8
    for found, expected in zip(copy(images), graph(images), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert copy.output_shape == graph.output_shape
