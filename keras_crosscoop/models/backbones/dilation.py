"""Replaces strides by dilations, which makes any classification network a dense feature extractor.

References:
    Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, and Fully
    Connected CRFs", TPAMI 2018, section 3.1.
    Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", 2017, section 4.2.1 (`multi_grid`).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
from keras import KerasTensor

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import producer
from keras_crosscoop.layers import AtrousConv2D, AtrousMaxPooling2D, BatchNormalization
from keras_crosscoop.models.blocks import BATCH_NORM_MOMENTUM
from keras_crosscoop.models.naming import stable_names

_FASTER = {keras.layers.Conv2D: AtrousConv2D, keras.layers.BatchNormalization: BatchNormalization}


class _Grid(NamedTuple):
    """The spacing of a feature map's pixels."""

    stride: int = 1  # image pixels from one pixel to the next
    rate: int = 1  # pixels from one pixel of the original feature map to the next


def dilate(
    model: keras.Model, image: KerasTensor, output_stride: int, factors: Mapping[str, int] = MappingProxyType({})
) -> keras.Model:
    """Copies a network onto `image`, with no stride beyond `output_stride`; weights keep shapes and values.

    A layer whose stride would exceed it gets stride 1, and every later kernel is dilated by the same factor. So each
    original feature is computed as before, with new ones in between. Where the original pads a strided convolution on
    one side, the padding becomes symmetric. Layers keep their names; those that Keras generated are renumbered within
    the network (see `stable_names`).

    The model is functional, has one input and a stride of at least `output_stride`. Poolings whose stride changes must
    be max poolings with "same" padding. `factors` further multiply the dilation of layers, by name.
    """
    changes = _changes(model, output_stride, factors)
    original_names = [operation.name for operation in model.operations]
    names = dict(zip(original_names, stable_names(original_names), strict=True))

    def clone(operation: keras.Operation) -> keras.Operation:
        name, change = names[operation.name], changes.get(operation.name, {})
        if change and isinstance(operation, keras.layers.MaxPooling2D):
            return AtrousMaxPooling2D(max(operation.pool_size), name=name, **change)
        config = operation.get_config() | change
        if "name" in config:  # some operations take no name
            config["name"] = name
        if isinstance(operation, keras.layers.BatchNormalization):
            config["momentum"] = BATCH_NORM_MOMENTUM
        return _FASTER.get(type(operation), type(operation)).from_config(config)

    dilated = keras.models.clone_model(model, input_tensors=image, clone_function=clone)
    for copy, original in zip(dilated.weights, model.weights, strict=True):
        copy.assign(original)
    return dilated


def check_multi_grid(multi_grid: Sequence[int]) -> tuple[int, ...]:
    """Returns `multi_grid` as a tuple: a factor for the rate of each of the last stage's three units.

    Raises:
        InputError: They are not three positive integers.
    """
    grid = tuple(multi_grid) if isinstance(multi_grid, Sequence) else ()
    if len(grid) != 3 or not all(type(factor) is int and factor > 0 for factor in grid):
        raise InputError(
            "`multi_grid` must be three positive integers, one for each unit of the last stage: (1, 1, 1) for equal "
            f"rates, or (1, 2, 4) as in DeepLabV3. Received: {multi_grid!r}"
        )
    return grid


def _changes(model: keras.Model, output_stride: int, factors: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Returns changes of the layers' configurations, by layer name."""
    grids: dict[str, _Grid] = {}  # of each operation's output
    changes: dict[str, dict[str, Any]] = {}
    for operation in model.operations:  # in topological order; some are not layers, such as the `+` of `x + 3`
        producers = [producer(tensor) for tensor in keras.tree.flatten(operation.input)]
        if isinstance(operation, keras.layers.InputLayer):
            grids[operation.name] = _Grid()
            continue
        grid = max(grids.get(producer.name, _Grid()) for producer in producers)  # default: the producer was cut off
        step = max(getattr(operation, "strides", (1,)))
        keep = grid.stride * step <= output_stride
        grids[operation.name] = _Grid(grid.stride * step, grid.rate) if keep else _Grid(grid.stride, grid.rate * step)
        if isinstance(operation, keras.layers.MaxPooling2D):
            if not keep:
                changes[operation.name] = {"dilation_rate": grid.rate}
            continue
        rate = grid.rate * factors.get(operation.name, 1)
        dilated = rate > 1 and max(getattr(operation, "kernel_size", (1,))) > 1
        if keep and not dilated:
            continue
        change: dict[str, Any] = {"strides": (1, 1)}
        if dilated:
            change["dilation_rate"] = (rate, rate)
        if isinstance(producers[0], keras.layers.ZeroPadding2D):  # too small for the dilated kernel
            changes[producers[0].name] = {"padding": 0}
            change["padding"] = "same"
        changes[operation.name] = change
    return changes
