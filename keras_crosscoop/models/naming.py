"""Names of outputs, and of layers."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import keras

ENSEMBLE = "ensemble"

_KINDS = {name.lower() for name in dir(keras.layers)}


def output_choices(sides: Sequence[str]) -> tuple[str, ...]:
    """Returns the names of all outputs: the networks', and their ensemble if there are two."""
    return tuple(sides) if len(sides) == 1 else (*sides, ENSEMBLE)


def renumbered(names: Iterable[str]) -> list[str]:
    """The names of a network's layers, in order, with those that Keras gave counted from the network's first.

    Keras names a layer that it is told no name for after its kind, "conv2d_7", and counts through the whole process:
    the same network built later has others.
    """
    counts: Counter[str] = Counter()
    stable = []
    for name in names:
        kind = re.sub(r"_\d+$", "", name)
        if kind.replace("_", "") in _KINDS:
            name = f"{kind}_{counts[kind]}" if counts[kind] else kind
            counts[kind] += 1
        stable.append(name)
    return stable
