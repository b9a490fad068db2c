"""Strides into dilations: any classification network as a dense feature extractor.

Reference: Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and
Fully Connected CRFs", TPAMI 2018, section 3.1.
"""

from typing import Any, NamedTuple

import keras
from keras import KerasTensor

from keras_crosscoop.layers import AtrousConv2D, BatchNormalization
from keras_crosscoop.models.blocks import BATCH_NORM_MOMENTUM

_FASTER = {keras.layers.Conv2D: AtrousConv2D, keras.layers.BatchNormalization: BatchNormalization}


class _Grid(NamedTuple):
    """Where a feature map's pixels lie."""

    stride: int = 1  # image pixels between two of them
    rate: int = 1  # how many of them lie where the original network had one step


def dilate(model: keras.Model, image: KerasTensor, output_stride: int) -> keras.Model:
    """The same network on `image`, with no stride beyond `output_stride`; weights keep shapes and values.

    A layer whose stride would lead beyond gives it up, and every kernel after it is dilated by as much, so that each
    original feature is computed as before, with new ones in between. Only where the original padded a strided layer on
    one side does the padding become symmetric.

    Args:
        model: a functional model of one input, with a stride of at least `output_stride`.
        image: the new input, `(B, H, W, C)`.
        output_stride: image pixels between two features.
    """
    changes = _changes(model, output_stride)

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config() | changes.get(layer.name, {})
        if isinstance(layer, keras.layers.BatchNormalization):
            config["momentum"] = BATCH_NORM_MOMENTUM
        return _FASTER.get(type(layer), type(layer)).from_config(config)

    dilated = keras.models.clone_model(model, input_tensors=image, clone_function=clone)
    dilated.set_weights(model.get_weights())
    return dilated


def _changes(model: keras.Model, output_stride: int) -> dict[str, dict[str, Any]]:
    """What changes in the layers' configurations, by layer name."""
    grids: dict[str, _Grid] = {}  # of each layer's output
    changes: dict[str, dict[str, Any]] = {}
    for layer in model.layers:  # in topological order
        producers = [tensor._keras_history.operation for tensor in keras.tree.flatten(layer.input)]
        if isinstance(layer, keras.layers.InputLayer):
            grids[layer.name] = _Grid()
            continue
        grid = max(grids.get(producer.name, _Grid()) for producer in producers)  # none: where a network was cut off
        step = max(getattr(layer, "strides", (1,)))
        kernel = max(getattr(layer, "kernel_size", (1,)))
        keep = grid.stride * step <= output_stride
        dilated = kernel > 1 and grid.rate > 1
        grids[layer.name] = _Grid(grid.stride * step, grid.rate) if keep else _Grid(grid.stride, grid.rate * step)
        if keep and not dilated:
            continue
        change: dict[str, Any] = {"strides": (1, 1)}
        if dilated:
            change["dilation_rate"] = (grid.rate, grid.rate)
        if isinstance(producers[0], keras.layers.ZeroPadding2D):  # padding of its own does not fit the new reach
            changes[producers[0].name] = {"padding": 0}
            change["padding"] = "same"
        changes[layer.name] = change
    return changes
