"""Backbones as a table, from data: nothing is built, nor TensorFlow loaded, to list them."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = {  # name: on which side it stands
    "name": "left",
    "trained": "right",
    "weights": "left",
    "tap": "left",
    "channels": "right",
    "stride": "left",
    "layer": "left",
}


def read_backbones() -> list[dict[str, Any]]:
    """Reads what one chooses a backbone by.

    Returns:
        Of each backbone its `name`, the number of trained `parameters`, the taps `low` and `high` (each a layer, its
        channels, and the strides that it can have), and the `origin` of its ImageNet weights, None without any.
    """
    package = find_spec("keras_crosscoop").origin  # found, but not imported, which takes seconds
    facts = Path(package).parent / "models" / "backbones" / "facts.json"
    return json.loads(facts.read_text(encoding="utf-8"))


def print_backbones(backbones: Sequence[Mapping[str, Any]]) -> None:
    """Prints each backbone in two lines, one a tap: low-level features and high-level ones."""
    table = Table(title="Backbones, and the layers whose features the decoder (low) and ASPP (high) read", box=None)
    for column, side in _COLUMNS.items():
        table.add_column(column, justify=side, no_wrap=True)
    for backbone in backbones:
        first = backbone["name"], f"{backbone['parameters'] / 1e6:.2f} M", backbone["origin"] or "none"
        for tap, columns in (("low", first), ("high", ("", "", ""))):
            layer, channels, strides = backbone[tap]
            table.add_row(*columns, tap, str(channels), ", ".join(map(str, strides)), layer)
    Console(width=max(130, Console().width)).print(table)  # names that one copies stay in one piece
