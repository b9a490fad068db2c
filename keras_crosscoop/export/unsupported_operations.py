"""Errors of converters, which name the layers of the network."""

import re
from collections.abc import Iterable

import keras

from keras_crosscoop.errors import InputError
from keras_crosscoop.keras_internals import flatten_layers

_LENGTH = 300  # characters of a converter's message, which may be pages


def unsupported_operations(runtime: str, operations: Iterable[tuple[str, str]], network: keras.Model) -> InputError:
    """Returns the error for operations, each given by its kind and its name in the traced graph; names their layers."""
    layers = _layer_names(network)
    names = dict.fromkeys(f"{kind} of layer {_layer(name, layers)}" for kind, name in operations)
    return InputError(
        f"{runtime} does not support {', '.join(names)}. Use other layers, or another --format. "
        f"Received: output {network.name}"
    )


def conversion_failure(runtime: str, error: Exception, network: keras.Model) -> InputError:
    """Returns the error for any other failure of a converter, with its message and the layers named in it."""
    text = " ".join(str(error).split())
    layers = sorted(name for name in _layer_names(network) if re.search(rf"\b{re.escape(name)}\b", text))
    where = f" (layer {', '.join(layers)})" if layers else ""
    return InputError(
        f"{runtime}'s converter failed{where}: {type(error).__name__}: {text[:_LENGTH]}. "
        f"Received: output {network.name}"
    )


def _layer_names(network: keras.Model) -> set[str]:
    _, *layers = flatten_layers(network)  # the first is the network itself
    return {layer.name for layer in layers}


def _layer(name: str, layers: set[str]) -> str:
    """Returns the innermost layer in `scope/.../layer_1/Operation@function`; tracing numbers repeated scopes."""
    for scope in reversed(name.partition("@")[0].split("/")):
        for layer in (scope, re.sub(r"_\d+$", "", scope)):
            if layer in layers:
                return layer
    return name or "unknown"
