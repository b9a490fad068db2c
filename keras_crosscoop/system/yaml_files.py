"""The one reader of YAML: plain values, each key once, and bounds on what a text may ask for."""

import os
from pathlib import Path
from typing import Any

import yaml

_LONGEST = 2**18  # characters of a text; a recipe takes 1,000
_DEEPEST = 20  # values inside each other; settings take 3
_MOST = 10_000  # values; those of an alias count each time
_LONGEST_TEXT = 4096  # characters of one value: paths are no longer
_LONGEST_NUMBER = 400  # characters; Python converts those of thousands of digits slowly or not at all

_CORE = "tag:yaml.org,2002:"
_INTEGER, _FLOAT = f"{_CORE}int", f"{_CORE}float"
_AS_TEXT = (f"{_CORE}timestamp", f"{_CORE}value")  # of YAML 1.1: dates, some of which PyYAML fails at, and "="


def read(path: Path) -> Any:
    """The content of a YAML file, see `load`.

    Raises:
        OSError: it cannot be read.
        ValueError: its text cannot be used; the message says why in one line.
    """
    with path.open(encoding="utf-8") as file:
        return load(file.read(_LONGEST + 1))


def load(text: str) -> Any:
    """The value of a YAML text: mappings, lists, text, numbers, booleans and None. Dates are text.

    Raises:
        ValueError: it is no YAML, gives a key twice, has tags such as `!!python/object`, or is larger or deeper than
            any settings are; the message says why in one line.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"it is longer than {_LONGEST:,} characters")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_reason(error)) from error


def _reason(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).replace('in "<unicode string>", ', "at ").split())
    return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem[:200]}"


class _Loader(yaml.SafeLoader):
    """Refuses what YAML allows and settings do not need, before it takes time or memory."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0
        self.values_in: dict[yaml.Node, int] = {}  # of each node that is complete

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Composes one value, and all inside it."""
        event, before = self.peek_event(), self.values
        self.depth += 1
        self.values += 1
        if self.depth > _DEEPEST:
            raise _error(f"values lie in each other more than {_DEEPEST} deep", event)
        if getattr(event, "tag", None) is not None:
            raise _error(f"tags such as {event.tag.replace(_CORE, '!!')[:40]} are not read", event)
        node = super().compose_node(parent, index)
        if isinstance(event, yaml.AliasEvent):
            if node not in self.values_in:
                raise _error(f"*{event.anchor[:40]} is inside the value that it stands for", event)
            self.values += self.values_in[node]
        if self.values > _MOST:
            raise _error(f"there are more than {_MOST:,} values", event)
        self.depth -= 1
        self.values_in.setdefault(node, self.values - before)
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        """Composes text or a number."""
        node = super().compose_scalar_node(anchor)
        longest = _LONGEST_NUMBER if node.tag in (_INTEGER, _FLOAT) else _LONGEST_TEXT
        if len(node.value) > longest:
            kind = "a number" if longest == _LONGEST_NUMBER else "a text"
            raise _error(f"{kind} is longer than {longest:,} characters", node)
        if not _can_be_a_path(node.value):
            raise _error("a text holds a character that stands for none", node)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Composes a mapping, whose keys must differ."""
        node = super().compose_mapping_node(anchor)
        first: dict[str, int] = {}  # the line of each key
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key is a name", key)
            line = key.start_mark.line + 1
            if key.value in first:
                where = f"lines {first[key.value]} and {line}" if first[key.value] < line else f"line {line}"
                raise yaml.YAMLError(f'"{key.value[:100]}" is given twice, in {where}')
            first[key.value] = line
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        """Makes a number; some texts only look like one to PyYAML, such as `0x_`."""
        of_kind = self.construct_yaml_int if node.tag == _INTEGER else self.construct_yaml_float
        try:
            return of_kind(node)
        except ValueError as error:
            raise _error(f"{node.value[:40]} is no number that can be read", node) from error


def _can_be_a_path(text: str) -> bool:
    """Whether the system takes a text: not zero bytes and half characters, which YAML writes as `\\0` and `\\ud800`."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def _error(problem: str, at: yaml.Event | yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


for _tag in (_INTEGER, _FLOAT):
    _Loader.add_constructor(_tag, _Loader.construct_number)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
