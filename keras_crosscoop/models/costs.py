"""The costs of a network: parameters, operations and activations of its components, and of every connection site."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import keras

from keras_crosscoop import precision
from keras_crosscoop.errors import InputError
from keras_crosscoop.models.connections import Site, cooperation
from keras_crosscoop.models.crosscoop import CrossCoop
from keras_crosscoop.models.graph import build_graph
from keras_crosscoop.models.segmenter import Segmenter

COMPONENTS = ("backbone", "aspp", "decoder")


@dataclass(frozen=True)
class Cost:
    """The cost of a component for one image.

    Attributes:
        parameters: The number of trained parameters.
        flops: Floating-point operations of the forward pass: two for each multiply-add of a convolution or dense layer.
            Normalisations, activations and resizing, together about a hundredth, are not counted. Training takes three
            times as many.
        activations: Bytes of all layers' outputs, an upper bound on what training keeps for the backward pass.
    """

    parameters: int = 0
    flops: int = 0
    activations: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.parameters + other.parameters, self.flops + other.flops, self.activations + other.activations)

    def __sub__(self, other: "Cost") -> "Cost":
        return self + Cost(-other.parameters, -other.flops, -other.activations)


class Component(NamedTuple):
    """A component of one network."""

    side: str
    name: str  # one of `COMPONENTS`
    output: tuple[int, ...]  # (H, W, C) of the next component's input, including the partner's features
    cost: Cost


def components(model: Segmenter) -> list[Component]:
    """Returns every network's backbone, ASPP and decoder; a connection belongs to the component before it.

    Raises:
        InputError: The model was not built for a fixed input size.

    Example:
        >>> from keras_crosscoop import DeepLabV3Plus
        >>> model = DeepLabV3Plus(3, backbone="tiny_resnet", weights=None, input_shape=(32, 32, 3), decoder_channels=8)
        >>> [(component.name, component.cost.parameters) for component in components(model)]
        [('backbone', 614928), ('aspp', 30112), ('decoder', 6299)]
    """
    by_key = {(side, name): Component(side, name, (), Cost()) for side in model.sides for name in COMPONENTS}
    for operation in _operations(model):
        side, _, name = operation.name.partition("_")
        if side in model.sides:  # excludes the input and its padding
            key = side, next((component for component in COMPONENTS if name.startswith(component)), COMPONENTS[-1])
            output = operation.output["high"] if isinstance(operation, keras.Model) else operation.output
            by_key[key] = Component(*key, output.shape[1:], by_key[key].cost + _cost(operation))
    return list(by_key.values())


def site_costs(model: CrossCoop) -> dict[Site, Cost]:
    """Returns the cost of each connection site: the model's cost minus its cost without the site.

    Raises:
        InputError: The model was not built for a fixed input size.
    """
    arguments = model.get_config()
    shared = {name: arguments[name] for name in ("num_classes", "output_stride", "decoder_channels", "dropout")}
    image = keras.Input(model.input_shape[1:])
    backbones = {side: model.get_layer(f"{side}_backbone") for side in model.sides}

    def cost_without(site: Site) -> Cost:
        sites = [other for other in arguments["sites"] if other != site]
        connect = cooperation(arguments["topology"], sites, arguments["fusion"], arguments["channel_reduction"])
        with precision.policy(arguments["dtype"]):
            return _sum(_operations(keras.Model(image, build_graph(image, backbones, connect, **shared))))

    total = _sum(_operations(model))
    return {site: total - cost_without(site) for site in arguments["sites"]}


def _operations(model: keras.Model) -> list[keras.Operation]:
    if None in model.input_shape[1:]:
        raise InputError(
            "Costs need a fixed image size. Build the model with `input_shape=(H, W, 3)`. "
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
    # Only convolutions and dense layers have weights of several axes.
    kernels = [prod(weight.shape) for weight in (operation.weights if layer else []) if len(weight.shape) > 1]
    positions = prod(outputs[0].shape[1:-1]) if kernels else 0  # H x W for `(B, H, W, C)`, 1 for `(B, C)`
    return Cost(
        sum(prod(weight.shape) for weight in (operation.trainable_weights if layer else [])),
        2 * positions * sum(kernels),  # every number of a kernel is used once at every position
        sum(prod(output.shape[1:]) * _bytes(output.dtype) for output in outputs),
    )


def _bytes(dtype: str) -> int:
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) // 8 if bits else 1  # booleans take a byte
