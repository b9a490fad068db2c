"""Rematerialisation: training that recomputes the backbones' activations in the backward pass instead of keeping them.

Each backbone's graph is cut where all later operations depend on a single tensor. The forward pass keeps only the
tensors at the cuts. The backward pass runs each segment between two cuts again, and frees its activations once it has
the gradients. The head keeps its activations: it has no such cuts, because the two networks read each other there.

Reference: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, section 4.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import keras
import tensorflow as tf

from keras_crosscoop.keras_internals import call_tensors, unchanged_graph

SEGMENT = 32  # operations: two or three residual blocks; memory hardly depends on it (`benchmarks/remat.py`)

_NEXT = "next"  # the output of a segment that the next one reads

Forward = Callable[[tf.Tensor], dict[str, tf.Tensor]]


def recomputed(model: keras.Model, at_least: int = SEGMENT) -> Forward:
    """Returns a function equal to `model(images, training=True)` that takes less memory in a graph with gradients.

    Logits, gradients and updates of the layers are the same. The layers are the model's own; the model is unchanged.
    Outside of a `tf.function` no memory is saved. `at_least` is the minimum number of operations in a segment, except
    for the last one of a backbone.
    """
    backbones = [operation for operation in model.operations if isinstance(operation, keras.Model)]
    inputs, taps = zip(*map(call_tensors, backbones), strict=True)
    padded = inputs[0][0]  # the input of all backbones
    with unchanged_graph(model):
        stem = keras.Model(model.input, padded)
        head = keras.Model([model.input, padded, *chain.from_iterable(taps)], model.output)
        sequences = [[_recompute(segment) for segment in segments(backbone, at_least)] for backbone in backbones]

    def forward(images: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.convert_to_tensor(images)
        x = stem(images, training=True)
        features = [tap for sequence in sequences for tap in keras.tree.flatten(_run(sequence, x))]
        return head([images, x, *features], training=True)

    return forward


def segments(backbone: keras.Model, at_least: int = SEGMENT) -> list[keras.Model]:
    """Cuts a backbone into models that share its layers; each reads one tensor and returns "next" and its taps."""
    operations = [op for op in backbone.operations if not isinstance(op, keras.layers.InputLayer)]  # in order
    last_read = {id(tensor): index for index, op in enumerate(operations) for tensor in keras.tree.flatten(op.input)}
    names = {id(tap): name for name, tap in backbone.output.items()}

    def cut() -> Iterator[keras.Model]:
        start, length, taps = backbone.inputs[0], 0, {}
        live = [start]  # tensors that later operations read
        for index, operation in enumerate(operations):
            outputs = keras.tree.flatten(operation.output)
            taps |= {names[id(tensor)]: tensor for tensor in outputs if id(tensor) in names}
            live = [tensor for tensor in live + outputs if last_read.get(id(tensor), -1) > index]
            length += 1
            if len(live) == 1 and length >= at_least:
                yield keras.Model(start, {_NEXT: live[0], **taps})
                start, length, taps = live[0], 0, {}
        yield keras.Model(start, taps)

    return list(cut())


def _run(sequence: list[Forward], x: tf.Tensor) -> dict[str, tf.Tensor]:
    """Runs a backbone's segments one after another and returns its taps."""
    taps = {}
    for segment in sequence:
        taps |= segment(x)
        x = taps.pop(_NEXT, None)
    return taps


def _recompute(segment: keras.Model) -> Forward:
    """Returns the segment in training mode, as a function that runs again when its gradients are computed.

    Both runs start from the same state. Only the first one writes its updates (moving averages, seeds of dropout) back.
    """

    def call(x: tf.Tensor) -> dict[str, tf.Tensor]:
        variables = segment.non_trainable_variables
        before = [tf.convert_to_tensor(variable) for variable in variables]

        @tf.custom_gradient
        def forward(x: tf.Tensor, *weights: tf.Tensor) -> tuple:
            outputs, after = segment.stateless_call(weights, before, x, training=True)
            for variable, old, new in zip(variables, before, after, strict=True):
                if new is not old:
                    variable.assign(new)

            def backward(*upstream: tf.Tensor) -> list[tf.Tensor]:
                with tf.control_dependencies(upstream):  # neither earlier, nor merged with the first run
                    again = tf.identity(x)
                with tf.GradientTape() as tape:
                    tape.watch([again, *weights])
                    outputs, _ = segment.stateless_call(weights, before, again, training=True)
                return tape.gradient(keras.tree.flatten(outputs), [again, *weights], upstream)

            return outputs, backward

        return forward(x, *map(tf.convert_to_tensor, segment.trainable_variables))

    return call
