"""Tables about networks."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_crosscoop.models.costs import Component, Cost
from keras_crosscoop.planning import Plan


def print_summary(title: str, parts: Sequence[Component], sites: Mapping[str, Cost]) -> None:
    """Prints output shape and costs of each part, the total, and the share of the connections at each site."""
    table = Table(title=title)
    for column in ("network", "part", "output"):
        table.add_column(column)
    for column in ("parameters", "GFLOPs", "activations"):
        table.add_column(column, justify="right")
    for side, of_side in groupby(parts, key=lambda part: part.side):
        for part in of_side:
            output = "x".join(map(str, part.output))
            table.add_row(side, part.name, output, *_cost(part.cost), end_section=part.name == "decoder")
    table.add_row("total", "", "", *_cost(sum((part.cost for part in parts), Cost())), style="bold", end_section=True)
    for site, cost in sites.items():
        table.add_row("connections", site, "", *_cost(cost))
    if sites:
        table.caption = "connections: the part of the total that the connections at each site add"
    Console().print(table)


def _cost(cost: Cost) -> tuple[str, str, str]:
    return f"{cost.parameters / 1e6:.2f} M", f"{cost.flops / 1e9:.2f}", f"{cost.activations / 2**20:.1f} MiB"


def print_plan(plan: Plan) -> None:
    """Prints a line for each chosen setting."""
    table = Table(title="Plan")
    table.add_column("setting", no_wrap=True)
    for column in ("value", "reason"):
        table.add_column(column, overflow="fold")
    for choice in plan.choices:
        table.add_row(choice.setting, escape(str(choice.value)), escape(choice.reason))
    Console().print(table)


def print_parity(report: Mapping[str, Any]) -> None:
    """Prints the comparison of an exported network with the live one, see `keras_crosscoop.export.export`."""
    table = Table(title="Exported model compared with the live model")
    for column in ("format", "output", "size"):
        table.add_column(column)
    for column in ("agreement", "max. difference", "mIoU live", "mIoU export", "ms", "p90 ms", "MB"):
        table.add_column(column, justify="right")
    name = report["format"] if report["quantize"] == "none" else f"{report['format']} {report['quantize']}"
    size = "x".join(map(str, report["size"])) if report["size"] else "any"
    ious = (f"{100 * iou:.1f}" if iou is not None else "" for iou in report["mean_iou"].values())
    times = (f"{1000 * seconds:.1f}" for seconds in report["latency"].values())
    share = f"{100 * report['agreement']:.2f} %"
    largest = f"{report['largest_probability_difference']:.1e}"
    table.add_row(name, report["output"], size, share, largest, *ious, *times, f"{report['bytes'] / 1e6:.1f}")
    Console(width=max(120, Console().width)).print(table)
