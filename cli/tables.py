"""Networks as tables."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from keras_crosscoop.models.costs import Cost, Part


def print_summary(title: str, parts: Sequence[Part], sites: Mapping[str, Cost]) -> None:
    """Prints what each part hands on and costs, the sum, and how much of it is for the connections at each site."""
    table = Table(title=title)
    for column in ("network", "part", "next reads"):
        table.add_column(column)
    for column in ("parameters", "GFLOPs", "activations"):
        table.add_column(column, justify="right")
    for side, of_side in groupby(parts, key=lambda part: part.side):
        for part in of_side:
            output = "x".join(map(str, part.output))
            table.add_row(side, part.name, output, *_cost(part.cost), end_section=part.name == "decoder")
    table.add_row("total", "", "", *_cost(sum((part.cost for part in parts), Cost())), style="bold", end_section=True)
    for site, cost in sites.items():
        table.add_row("of which", site, "", *_cost(cost))
    if sites:
        table.caption = "of which: what the connections at each site take"
    Console().print(table)


def _cost(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.parameters / 1e6:.2f} M", f"{cost.flops / 1e9:.2f}", f"{cost.activations / 2**20:.1f} MiB"


def print_parity(found: Mapping[str, Any]) -> None:
    """Prints how an exported network compares with the live one, see `keras_crosscoop.export.export`."""
    table = Table(title="Beside the live model")
    for column in ("format", "output", "size"):
        table.add_column(column)
    for column in ("agreement", "largest difference", "mIoU live", "exported", "ms", "p90", "MB"):
        table.add_column(column, justify="right")
    name = found["format"] if found["quantize"] == "none" else f"{found['format']} {found['quantize']}"
    size = "x".join(map(str, found["size"])) if found["size"] else "any"
    ious = (f"{100 * iou:.1f}" if iou is not None else "" for iou in found["mean_iou"].values())
    times = (f"{1000 * seconds:.1f}" for seconds in found["latency"].values())
    share = f"{100 * found['agreement']:.2f} %"
    largest = f"{found['largest_probability_difference']:.1e}"
    table.add_row(name, found["output"], size, share, largest, *ious, *times, f"{found['bytes'] / 1e6:.1f}")
    Console(width=max(100, Console().width)).print(table)
