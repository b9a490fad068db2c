"""Batch normalisation folding: turns a trained graph into an inference graph without normalisation and dropout.

In inference, batch normalisation scales and shifts each channel. The kernel and bias of a convolution before it can
include both: the function stays the same, with fewer passes over memory.

Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 3.2 and figure C.8.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from keras_crosscoop.export.rewriting import copy_of, rewrite
from keras_crosscoop.keras_internals import producer

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def fold_batch_normalization(model: keras.Model, input_shape: Sequence[int | None] = (None, None, 3)) -> keras.Model:
    """Returns a float32 copy of a model for inference, with the same outputs; see `rewrite`."""
    normalizations = _foldable(model)
    folded = {id(normalization) for normalization in normalizations.values()}

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if isinstance(operation, layers.Dropout) or id(operation) in folded:
            return arguments[0]
        if normalization := normalizations.get(id(operation)):
            return copy_of(operation, use_bias=True, weights=_folded_weights(operation, normalization))(*arguments)
        return None

    return rewrite(model, replace, input_shape)


def _foldable(model: keras.Model) -> dict[int, layers.BatchNormalization]:
    """Returns the normalisations that alone read the output of a convolution, by the convolution's `id`."""
    inputs = [tensor for operation in model.operations for tensor in keras.tree.flatten(operation.input)]
    readers = Counter(map(id, [*inputs, *model.outputs]))
    normalizations = {}
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            normalizations |= _foldable(operation)
        if not isinstance(operation, layers.BatchNormalization) or operation.axis not in (-1, 3):
            continue
        convolution = producer(operation.input)
        linear = getattr(convolution, "activation", None) is keras.activations.linear
        if isinstance(convolution, CONVOLUTIONS) and linear and readers[id(operation.input)] == 1:
            normalizations[id(convolution)] = operation
    return normalizations


def _folded_weights(convolution: keras.Layer, normalization: layers.BatchNormalization) -> list[np.ndarray]:
    """Returns the weights of a convolution that includes the normalisation after it; the bias is the last."""
    weights = convolution.get_weights()
    mean, variance = np.float64(normalization.moving_mean), np.float64(normalization.moving_variance)
    factor = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        factor = factor * np.float64(normalization.gamma)
    offset = np.float64(normalization.beta) if normalization.center else 0.0
    bias = weights.pop() if convolution.use_bias else 0.0
    *before, kernel = weights  # the last kernel of a separable convolution is the pointwise one
    shape = kernel.shape[2:] if isinstance(convolution, layers.DepthwiseConv2D) else kernel.shape[3:]
    return [*before, kernel * factor.reshape(shape), offset + factor * (bias - mean)]
