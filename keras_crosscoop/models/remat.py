"""Backbones trained without keeping their activations: the backward pass computes them again.

Reference: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor

from keras_crosscoop.models.segmenter import Segmenter

SEGMENT = 10


def recomputed(model: Segmenter, least: int = SEGMENT) -> Callable[[Any], dict[str, tf.Tensor]]:
    """`model(images, training=True)` as a function that keeps few activations of the backbones."""
    nested = [operation for operation in model.operations if isinstance(operation, keras.Model)]
    padded = nested[0]._inbound_nodes[0].input_tensors
    taps = [tap for backbone in nested for tap in backbone._inbound_nodes[0].outputs]
    stem = keras.Model(model.input, padded[0])
    head = keras.Model([model.input, *padded, *taps], model.output)
    backbones = [[_recomputed(part) for part in segments(backbone, least)] for backbone in nested]

    def call(images):
        x = stem(images, training=True)
        features = []
        for backbone in backbones:
            y = x
            out = {}
            for part in backbone:
                got = part(y)
                y = got.pop("next", None)
                out |= got
            features += keras.tree.flatten(out)
        return head([images, x, *features], training=True)

    return call


def segments(backbone, least):
    taps = {id(t): name for name, t in backbone.output.items()}
    ops_ = [op for op in backbone.operations if not isinstance(op, keras.layers.InputLayer)]
    last_use = {}
    for i, op in enumerate(ops_):
        for t in keras.tree.flatten(op.input):
            last_use[id(t)] = i
    live = {id(backbone.inputs[0]): backbone.inputs[0]}
    start, since, inside = backbone.inputs[0], 0, {}
    parts = []
    for i, op in enumerate(ops_):
        for t in keras.tree.flatten(op.output):
            live[id(t)] = t
            if id(t) in taps:
                inside[taps[id(t)]] = t
        live = {k: t for k, t in live.items() if last_use.get(k, -1) > i}
        since += 1
        if len(live) == 1 and since >= least:
            cut = next(iter(live.values()))
            parts.append(keras.Model(start, {"next": cut, **inside}))
            start, since, inside = cut, 0, {}
    parts.append(keras.Model(start, inside))
    return parts


def _recomputed(segment):
    def call(x):
        states = segment.non_trainable_variables
        before = [tf.convert_to_tensor(v) for v in states]

        @tf.custom_gradient
        def run(x, *weights):
            outputs, after = segment.stateless_call(weights, before, x, training=True)
            for s, n in zip(states, after, strict=True):
                s.assign(n)

            def backward(*upstream):
                with tf.control_dependencies(upstream):
                    again = tf.identity(x)
                with tf.GradientTape() as tape:
                    tape.watch([again, *weights])
                    outputs, _ = segment.stateless_call(weights, before, again, training=True)
                return tape.gradient(tf.nest.flatten(outputs), [again, *weights], list(upstream))

            return outputs, backward

        return run(x, *[tf.convert_to_tensor(v) for v in segment.trainable_variables])

    return call
