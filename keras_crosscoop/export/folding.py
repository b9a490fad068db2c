"""A trained graph as it infers: batch normalisation folded into convolutions, dropout gone.

In inference batch normalisation is a factor and an offset a channel. A convolution in front of it takes both into its
kernel and bias: the same function, in fewer passes over memory.

Reference: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference",
CVPR 2018, section 3.2 and figure C.8.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from keras_crosscoop.export.rewriting import copied, rewritten
from keras_crosscoop.keras_internals import producer

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)


def folded(model: keras.Model, input_shape: Sequence[int | None] = (None, None, 3)) -> keras.Model:
    """The function that a model is in inference: `(B, H, W, C)` to outputs in the model's structure, in float32.

    Args:
        model: a functional one of one input, whose layers are called once each; it stays as it is.
        input_shape: of the copy, `(H, W, C)`.
    """
    normalisations = _foldable(model)
    passed = {id(normalisation) for normalisation in normalisations.values()}

    def replace(operation: keras.Operation, *arguments: Any) -> KerasTensor | None:
        if isinstance(operation, layers.Dropout) or id(operation) in passed:
            return arguments[0]
        if normalisation := normalisations.get(id(operation)):
            return copied(operation, use_bias=True, weights=_weights(operation, normalisation))(*arguments)
        return None

    return rewritten(model, replace, input_shape)


def _foldable(model: keras.Model) -> dict[int, layers.BatchNormalization]:
    """The normalisation behind each convolution that nothing else reads, by the convolution's `id`."""
    read = [tensor for operation in model.operations for tensor in keras.tree.flatten(operation.input)]
    readers = Counter(map(id, [*read, *model.outputs]))
    found = {}
    for operation in model.operations:
        if isinstance(operation, keras.Model):
            found |= _foldable(operation)
        if not isinstance(operation, layers.BatchNormalization) or operation.axis not in (-1, 3):
            continue
        convolution = producer(operation.input)
        linear = getattr(convolution, "activation", None) is keras.activations.linear
        if isinstance(convolution, CONVOLUTIONS) and linear and readers[id(operation.input)] == 1:
            found[id(convolution)] = operation
    return found


def _weights(convolution: keras.Layer, normalisation: layers.BatchNormalization) -> list[np.ndarray]:
    """A convolution's weights, bias last, with the normalisation behind it taken in."""
    weights = convolution.get_weights()
    mean, variance = (np.float64(each) for each in (normalisation.moving_mean, normalisation.moving_variance))
    factor, offset = 1 / np.sqrt(variance + normalisation.epsilon), 0.0
    if normalisation.scale:
        factor = factor * np.float64(normalisation.gamma)
    if normalisation.center:
        offset = np.float64(normalisation.beta)
    bias = weights.pop() if convolution.use_bias else 0.0
    *before, kernel = weights  # of a separable convolution the pointwise one is the last
    shape = kernel.shape[2:] if isinstance(convolution, layers.DepthwiseConv2D) else kernel.shape[3:]
    return [*before, kernel * factor.reshape(shape), offset + factor * (bias - mean)]
