"""A YAML reader that accepts only plain values and unique keys, and limits time and memory."""

import os
from pathlib import Path
from typing import Any

import yaml

_MAX_LENGTH = 2**18  # characters of a text; a recipe has 1,000
_MAX_DEPTH = 20  # of nested values; settings have 3
_MAX_VALUES = 10_000  # an alias counts as all values that it stands for
_MAX_SCALAR = 4096  # characters of one value, as for paths
_MAX_NUMBER = 400  # characters; Python is slow at numbers with thousands of digits, or refuses them

_CORE = "tag:yaml.org,2002:"
_NUMBERS = (f"{_CORE}int", f"{_CORE}float")
_READ_AS_TEXT = (f"{_CORE}timestamp", f"{_CORE}value")  # dates (PyYAML fails at some of them), and "="


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
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        if mark := getattr(error, "problem_mark", None):
            reason = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem[:200]}"
        else:
            reason = " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
        raise ValueError(reason) from error


class _Loader(yaml.SafeLoader):
    """Refuses the parts of YAML that settings do not need, before they take time or memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.sizes: dict[yaml.Node, int] = {}  # the number of values in each complete node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Composes a value and everything inside it."""
        event, before = self.peek_event(), self.values
        self.depth += 1
        self.values += 1
        if self.depth > _MAX_DEPTH:
            raise _error(f"values are nested more than {_MAX_DEPTH} deep", event)
        if getattr(event, "tag", None) is not None:
            raise _error(f"tags such as {event.tag.replace(_CORE, '!!')[:40]} are not allowed", event)
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if node not in self.sizes:
                raise _error(f"*{event.anchor[:40]} is inside the value that it stands for", event)
            self.values += self.sizes[node]
        if self.values > _MAX_VALUES:
            raise _error(f"there are more than {_MAX_VALUES:,} values", event)
        self.depth -= 1
        self.sizes.setdefault(node, self.values - before)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Composes a text or number."""
        node = super().compose_scalar_node(anchor)
        kind, longest = ("number", _MAX_NUMBER) if node.tag in _NUMBERS else ("text", _MAX_SCALAR)
        if len(node.value) > longest:
            raise _error(f"a {kind} is longer than {longest:,} characters", node)
        try:
            invalid = b"\0" in os.fsencode(node.value)
        except UnicodeEncodeError:  # half of a character, which YAML writes as `\ud800`
            invalid = True
        if invalid:
            raise _error("a text holds a character that no path can hold", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping, whose keys must be unique texts or numbers."""
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a name", key)
            line = key.start_mark.line + 1
            if key.value in lines:
                first = lines[key.value]
                where = f"lines {first} and {line}" if first < line else f"line {line}"
                raise yaml.YAMLError(f'"{key.value[:100]}" is given twice, in {where}')
            lines[key.value] = line
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Converts a number. PyYAML mistakes some strings for numbers, such as `0x_`."""
        convert = self.construct_yaml_int if node.tag == _NUMBERS[0] else self.construct_yaml_float
        try:
            return convert(node)
        except ValueError as error:
            raise _error(f"{node.value[:40]} is not a valid number", node) from error


def _error(problem: str, place: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=place.start_mark)


for _tag in _NUMBERS:
    _Loader.add_constructor(_tag, _Loader.construct_number)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _READ_AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
