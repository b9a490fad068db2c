"""A graph that TensorFlow's optimizer can fuse: convolutions with their biases and activations."""

from typing import Any

import keras
import tensorflow as tf
from keras import KerasTensor, layers

from keras_crosscoop.export.rewriting import copied, rewritten


def fusable(model: keras.Model) -> keras.Model:
    """A copy of a model in which no sum can be fused into the convolution before it.

    TensorFlow's remapper fails where two such sums follow each other ("fanout exist for missing node", 2.21), and then
    fuses nothing in the whole graph. A sum's terms pass through an operation that does nothing and that it keeps.

    Args:
        model: as of `rewriting.rewritten`.
    """

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if isinstance(operation, layers.Add):
            return copied(operation)([_Kept()(term) for term in arguments[0]])
        return None

    return rewritten(model, replace, model.input_shape[1:])


class _Kept(layers.Layer):
    def call(self, features: KerasTensor) -> KerasTensor:
        return tf.ensure_shape(features, features.shape)
