"""What a network costs, of each of its parts, and what every connection site adds to it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.models.connections import Site, cooperation
from keras_crosscoop.models.crosscoop import CrossCoop
from keras_crosscoop.models.graph import build_graph
from keras_crosscoop.models.segmenter import Segmenter

PARTS = ("backbone", "aspp", "decoder")


@dataclass(frozen=True)
class Cost:
    """What a part of a network needs for one image.

    Attributes:
        parameters: that are trained.
        flops: floating-point operations of the forward pass: two for each multiplication and addition of a convolution
            or dense layer. Normalisations, activations and resizing, together about a hundredth, are not counted.
            Training takes three times as many.
        activations: bytes of all layers' outputs: the most that training keeps of an image for the backward pass.
    """

    parameters: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.flops + other.flops, self.activations + other.activations)

    def __sub__(self, other: "Cost") -> "Cost":
        return self + Cost(-other.parameters, -other.flops, -other.activations)


class Part(NamedTuple):
    """A part of a network, what it hands on to the next one (with what is read from the partner), and its cost."""

    side: str
    name: str
    output: tuple[int, ...]  # (H, W, C)
    cost: Cost


def parts(model: Segmenter) -> list[Part]:
    """Every network's backbone, ASPP and decoder; a connection belongs to the part that it follows.

    Raises:
        InputError: the model was not built for a fixed input size.
    """
    found = {(side, name): Part(side, name, (), Cost()) for side in model.sides for name in PARTS}
    for operation in _operations(model):
        side, _, name = operation.name.partition("_")
        if side in model.sides:  # all but the image and its padding
            key = side, next((part for part in PARTS if name.startswith(part)), PARTS[-1])
            output = operation.output["high"] if isinstance(operation, keras.Model) else operation.output
            found[key] = Part(*key, output.shape[1:], found[key].cost + _cost(operation))
    return list(found.values())


def site_costs(model: CrossCoop) -> dict[Site, Cost]:
    """What each of the model's connection sites adds: the cost of the model less that of the same without the site.

    Raises:
        InputError: the model was not built for a fixed input size.
    """
    arguments = model.get_config()
    sites = arguments["sites"]
    names = ("num_classes", "output_stride", "decoder_channels", "dropout")
    image = keras.Input(model.input_shape[1:])
    backbones = {side: model.get_layer(f"{side}_backbone") for side in model.sides}

    def without(site: Site) -> keras.Model:
        others = [other for other in sites if other != site]
        connect = cooperation(arguments["topology"], others, arguments["fusion"], arguments["channel_reduction"])
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(model.dtype_policy)
        try:
            logits = build_graph(image, backbones, connect, **{name: arguments[name] for name in names})
        finally:
            keras.config.set_dtype_policy(policy)
        return keras.Model(image, logits)

    return {site: _sum(_operations(model)) - _sum(_operations(without(site))) for site in sites}


def _operations(model: keras.Model) -> list[keras.Operation]:
    if None in model.input_shape[1:]:
        raise InputError(
            "Operations can be counted at a fixed size only. Build the model with `input_shape=(H, W, 3)`. "
            f"Received: {model.input_shape[1:]}"
        )
    return model.operations


def _sum(operations: Iterable[keras.Operation]) -> Cost:
    return sum(map(_cost, operations), Cost())


def _cost(operation: keras.Operation) -> Cost:
    if isinstance(operation, keras.Model):
        return _sum(operation.operations)
    if isinstance(operation, keras.layers.InputLayer):
        return Cost()
    outputs = keras.tree.flatten(operation.output)
    layer = isinstance(operation, keras.layers.Layer)
    # Of convolutions and dense layers; normalisations and others hold vectors, however these are named.
    kernels = [prod(weight.shape) for weight in (operation.weights if layer else []) if len(weight.shape) > 1]
    positions = prod(outputs[0].shape[1:-1]) if kernels else 0  # `(B, H, W, C)` has H x W, `(B, C)` one
    return Cost(
        sum(prod(weight.shape) for weight in (operation.trainable_weights if layer else [])),
        2 * positions * sum(kernels),  # each number of a kernel meets every position of the output, once
        sum(prod(output.shape[1:]) * _bytes(output.dtype) for output in outputs),
    )


def _bytes(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1  # a boolean
