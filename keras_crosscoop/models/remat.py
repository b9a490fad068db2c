"""Training that keeps few of the backbones' activations and computes the others again in the backward pass.

Each backbone's graph is cut where a single tensor leads on. Forward, only the tensors at the cuts are kept; backward,
each segment between two cuts runs again from its first tensor, and is forgotten once its gradients are there. The head
keeps its activations: there the two networks read each other, and nowhere does a single tensor lead on.

Reference: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, section 4.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

SEGMENT = 32  # operations: two or three residual blocks; memory hardly depends on it (`benchmarks/remat.py`)

_NEXT = "next"  # what the next segment reads, among a segment's outputs


def recomputed(model: keras.Model, at_least: int = SEGMENT) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The function that `model(images, training=True)` is, which takes less memory where it is trained in a graph.

    Logits, gradients and what the layers update are the same; the layers are the model's own, and it stays as it is.
    Outside of a `tf.function` nothing is saved.

    Args:
        model: of any backbones.
        at_least: how many operations a segment has; the last one of a backbone may have fewer.
    """
    backbones = [operation for operation in model.operations if isinstance(operation, keras.Model)]
    nodes = [backbone._inbound_nodes[0] for backbone in backbones]  # where the model calls them
    padded = nodes[0].input_tensors[0]  # which all of them read
    with _graph_kept(model):
        stem = keras.Model(model.input, padded)
        head = keras.Model([model.input, padded, *(tap for node in nodes for tap in node.output_tensors)], model.output)
        runs = [[_recomputed(segment) for segment in segments(backbone, at_least)] for backbone in backbones]

    def call(images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.convert_to_tensor(images)
        x = stem(images, training=True)
        taps = [tap for run in runs for tap in keras.tree.flatten(_in_turn(run, x))]
        return head([images, x, *taps], training=True)

    return call


@contextmanager
def _graph_kept(model: keras.Model) -> Iterator[None]:
    """Leaves the model's graph as it is, where models are made that begin amid it.

    Keras notes their calls down in the layers as well, which would add up, and leave no layer one output.
    """
    graphs = [model, *(layer for layer in model._flatten_layers() if isinstance(layer, keras.Model))]
    inputs = [(tensor, tensor._keras_history) for graph in graphs for tensor in graph.inputs]
    calls = [(op._inbound_nodes, op._outbound_nodes) for graph in graphs for op in (graph, *graph.operations)]
    counts = [(nodes, len(nodes)) for of_operation in calls for nodes in of_operation]
    try:
        yield
    finally:
        for nodes, count in counts:
            del nodes[count:]
        for tensor, history in inputs:
            tensor._keras_history = history


def segments(backbone: keras.Model, at_least: int = SEGMENT) -> list[keras.Model]:
    """A backbone in pieces that share its layers: each reads one tensor, and gives "next" and the taps it holds."""
    operations = [op for op in backbone.operations if not isinstance(op, keras.layers.InputLayer)]  # in order
    last_read = {id(read): index for index, op in enumerate(operations) for read in keras.tree.flatten(op.input)}
    names = {id(tap): name for name, tap in backbone.output.items()}

    def pieces() -> Iterator[keras.Model]:
        start, length, taps = backbone.inputs[0], 0, {}
        leading_on = [start]
        for index, operation in enumerate(operations):
            given = keras.tree.flatten(operation.output)
            taps |= {names[id(tensor)]: tensor for tensor in given if id(tensor) in names}
            leading_on = [tensor for tensor in leading_on + given if last_read.get(id(tensor), -1) > index]
            length += 1
            if len(leading_on) == 1 and length >= at_least:
                yield keras.Model(start, {_NEXT: leading_on[0], **taps})
                start, length, taps = leading_on[0], 0, {}
        yield keras.Model(start, taps)

    return list(pieces())


def _in_turn(run: list[Callable[[tf.Tensor], dict[str, tf.Tensor]]], x: tf.Tensor) -> dict[str, tf.Tensor]:
    """The taps of a backbone, from the segments that it consists of."""
    taps = {}
    for segment in run:
        taps |= segment(x)
        x = taps.pop(_NEXT, None)
    return taps


def _recomputed(segment: keras.Model) -> Callable[[tf.Tensor], dict[str, tf.Tensor]]:
    """The segment in training, whose activations are computed again when its gradients are asked for.

    Both times it is a function of the same values. What it changes (moving averages, the seeds of dropout) is written
    back the first time alone.
    """

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        states = segment.non_trainable_variables
        before = [tf.convert_to_tensor(state) for state in states]

        @tf.custom_gradient
        def forward(x: tf.Tensor, *weights: tf.Tensor) -> tuple:
            outputs, after = segment.stateless_call(weights, before, x, training=True)
            for state, old, new in zip(states, before, after, strict=True):
                if new is not old:
                    state.assign(new)

            def backward(*upstream: tf.Tensor) -> list[tf.Tensor]:
                with tf.control_dependencies(upstream):  # not any earlier, nor merged with the first time
                    again = tf.identity(x)
                with tf.GradientTape() as tape:
                    tape.watch([again, *weights])
                    outputs, _ = segment.stateless_call(weights, before, again, training=True)
                return tape.gradient(keras.tree.flatten(outputs), [again, *weights], upstream)

            return outputs, backward

        return forward(x, *map(tf.convert_to_tensor, segment.trainable_variables))

    return call
