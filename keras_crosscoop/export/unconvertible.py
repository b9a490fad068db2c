"""What a format has no operation for, told in the network's own words."""

import re
from collections.abc import Iterable, Iterator

import keras

from keras_crosscoop.errors import InputError

_LENGTH = 300  # characters of what converters say, which may be pages


def unconvertible(runtime: str, operations: Iterable[tuple[str, str]], network: keras.Model) -> InputError:
    """The error for operations that cannot be converted: it names them, and the layers that need them.

    Args:
        runtime: what lacks them.
        operations: of each its kind, and its name in the traced graph.
        network: that they are of.
    """
    layers = set(_names(network))
    found = dict.fromkeys(f"{kind} of layer {_layer(name, layers)}" for kind, name in operations)
    return InputError(
        f"{runtime} has no operation for {', '.join(found)}. Use others, or another --format. "
        f"Received: output {network.name}"
    )


def gave_up(runtime: str, error: Exception, network: keras.Model) -> InputError:
    """The error for a converter that fails in another way: what it says, and the layers that it names."""
    text = " ".join(str(error).split())
    named = sorted({name for name in _names(network) if re.search(rf"\b{re.escape(name)}\b", text)})
    at = f" (layer {', '.join(named)})" if named else ""
    return InputError(
        f"{runtime}'s converter gave up{at}: {type(error).__name__}: {text[:_LENGTH]}. Received: output {network.name}"
    )


def _names(network: keras.Model) -> Iterator[str]:
    for layer in network.layers:
        yield layer.name
        if isinstance(layer, keras.Model):
            yield from _names(layer)


def _layer(name: str, layers: set[str]) -> str:
    """The innermost layer in `scope/.../layer_1/Operation@function`, where tracing numbers scopes that come again."""
    for scope in reversed(name.partition("@")[0].split("/")):
        for layer in (scope, re.sub(r"_\d+$", "", scope)):
            if layer in layers:
                return layer
    return name or "unknown"
