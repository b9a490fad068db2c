"""A YAML reader that accepts only plain values and unique keys, and limits time and memory."""

import os
from pathlib import Path
from typing import Any

import yaml

from keras_crosscoop.errors import describe

_MAX_LENGTH = 2**16  # characters of a text; a recipe has 1,000
_MAX_VALUES = 10_000  # an alias counts as all values that it stands for

# Dates (PyYAML fails at some of them), "=", and "<<", which could repeat a mapping without end.
_READ_AS_TEXT = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("timestamp", "value", "merge"))


def read(path: Path) -> Any:
    """Reads a YAML file as `load` reads a text.

    Raises:
        OSError: The file cannot be read.
        ValueError: See `load`.
    """
    with path.open(encoding="utf-8") as file:
        return load(file.read(_MAX_LENGTH + 1))


def load(text: str) -> Any:
    """Returns the value of a YAML text: mappings, lists, text, numbers, booleans and None. Dates are text.

    Raises:
        ValueError: The text is not valid YAML, repeats a key, has tags such as `!!python/object`, or exceeds a limit.
            The message is one line.
    """
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"it is longer than {_MAX_LENGTH:,} characters")
    try:
        value = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise ValueError(f"line {mark.line + 1}, column {mark.column + 1}: {error.problem[:200]}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).replace('in "<unicode string>", ', "at ").split())) from error
    except Exception as error:  # PyYAML fails in many ways, such as at `0x_` or at deeply nested brackets
        raise ValueError(describe(error)[:200]) from error
    _check(value)
    return value


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, of which PyYAML would take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Converts a mapping."""
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f'"{key.value}" is given twice', problem_mark=key.start_mark)
            keys.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _check(value: Any) -> None:
    """Checks that there are not too many values, and that each is plain, a short number, or a text for a path."""
    checked, unchecked = 0, [value]
    while unchecked:
        value = unchecked.pop()
        checked += 1
        if isinstance(value, dict):
            unchecked += [*value, *value.values()]
        elif isinstance(value, list):
            unchecked += value
        elif isinstance(value, str):
            if b"\0" in os.fsencode(value):
                raise ValueError("a text holds a character that no path can hold")
        elif isinstance(value, int):
            if value.bit_length() > 4096:
                raise ValueError("a number has more than 4,096 bits")
        elif not isinstance(value, float | None):
            raise ValueError(f"values of type {type(value).__name__} are not allowed")
        if checked + len(unchecked) > _MAX_VALUES:
            raise ValueError(f"there are more than {_MAX_VALUES:,} values")
