"""No graph takes the detour that Keras's dilated convolutions take on TensorFlow: space to batch, and back."""

import keras
import pytest
import tensorflow as tf

from keras_crosscoop.layers import AtrousConv2D

pytestmark = pytest.mark.slow

DETOURS = ("SpaceToBatch", "SpaceToBatchND", "BatchToSpace", "BatchToSpaceND")


def detours(function):
    """How many such nodes the graph of a concrete function has, with all functions that it calls."""
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for called in definition.library.function for node in called.node_def)]
    assert any(node.op == "Conv2D" for node in nodes)  # or else these are not the nodes that we think
    return sum(node.op in DETOURS for node in nodes)


def graphs(model, folder):
    """The functions that training, evaluation, prediction and an exported model run."""
    batch = tf.TensorSpec((1, 48, 48, 3), "uint8"), tf.TensorSpec((1, 48, 48), "uint8")
    model.compile("sgd")
    for kind, step in {"train": model.train_step, "test": model.test_step, "predict": model.predict_step}.items():
        yield kind, tf.function(step).get_concrete_function(batch)
    model.export(folder, verbose=False)
    yield "exported", tf.saved_model.load(str(folder)).signatures["serving_default"]


def test_ordinary_convolutions_take_no_detour(pair, tmp_path):
    model = pair(top="tiny_resnet", bottom="tiny_resnet", output_stride=8)
    rates = {layer.dilation_rate for layer in model._flatten_layers() if isinstance(layer, AtrousConv2D)}
    assert len(rates) > 3
    assert {kind: detours(function) for kind, function in graphs(model, tmp_path)} == dict.fromkeys(
        ("train", "test", "predict", "exported"), 0
    )


def test_keras_convolutions_would(pair, tmp_path, monkeypatch):
    monkeypatch.setattr(AtrousConv2D, "convolution_op", keras.layers.Conv2D.convolution_op)
    counted = {kind: detours(function) for kind, function in graphs(pair(top="tiny_resnet"), tmp_path)}
    assert min(counted.values()) > 0


def test_dilated_depthwise_convolutions_do(pair, tmp_path):
    """A pair of nodes each: TensorFlow has no kernel for them, and other ways train slower (docs/speed.md)."""
    model = pair(top="tiny_xception", output_stride=8)
    dilated = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.DepthwiseConv2D) and max(layer.dilation_rate) > 1
    ]
    counted = dict(graphs(model, tmp_path))
    assert len(dilated) > 0
    assert detours(counted["test"]) == detours(counted["exported"]) == 2 * len(dilated)
