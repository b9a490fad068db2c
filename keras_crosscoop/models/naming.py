"""Names of outputs and layers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import keras

ENSEMBLE = "ensemble"

_LAYER_KINDS = {name.lower() for name in dir(keras.layers)}


def output_choices(sides: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all outputs: the networks, and the ensemble if there are two."""
    return tuple(sides) if len(sides) == 1 else (*sides, ENSEMBLE)


def stable_names(names: Iterable[str]) -> list[str]:
    """Renumbers the layer names that Keras generated, such as "conv2d_7", within one network.

    Keras numbers them across the whole process, so a network gets different names when it is built again.
    """
    counts: Counter[str] = Counter()
    stable = []
    for name in names:
        kind = re.sub(r"_\d+$", "", name)
        if kind.replace("_", "") in _LAYER_KINDS:
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
        stable.append(name)
    return stable
