"""The table of backbones. It is read from a file, so that listing them needs no TensorFlow."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {  # name: alignment
    "name": "left",
    "parameters": "right",
    "weights": "left",
    "tap": "left",
    "channels": "right",
    "stride": "left",
    "layer": "left",
}


def read_backbones() -> list[dict[str, Any]]:
    """Reads the facts about all backbones.

    Returns:
        For each backbone: `name`; number of trained `parameters`; taps `low` and `high`, each `[layer, channels,
        possible strides]`; `origin` of its ImageNet weights, None without weights.
    """
    package = find_spec("keras_crosscoop").origin  # not imported, which would take seconds
    facts = Path(package).parent / "models" / "backbones" / "facts.json"
    return json.loads(facts.read_text(encoding="utf-8"))


def print_backbones(backbones: Sequence[Mapping[str, Any]]) -> None:
    """Prints two lines per backbone: one for its low-level tap, one for its high-level tap."""
    table = Table(title="Backbones and their tapped layers: low feeds the decoder, high feeds ASPP", box=None)
    for column, side in _COLUMNS.items():
        table.add_column(column, justify=side, no_wrap=True)
    for backbone in backbones:
        first = backbone["name"], f"{backbone['parameters'] / 1e6:.2f} M", backbone["origin"] or "none"
        for tap, columns in (("low", first), ("high", ("", "", ""))):
            layer, channels, strides = backbone[tap]
            table.add_row(*columns, tap, str(channels), ", ".join(map(str, strides)), layer)
    Console(width=max(130, Console().width)).print(table)  # never wraps names
