"""Figures as tables."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_evaluation(figures: dict[str, Any]) -> None:
    """Prints the IoU of each class and the means, a column an output, in percent."""
    outputs = figures["outputs"]
    table = Table(title=f"IoU in % on {figures['dataset']} {figures['split']}, {figures['images']} images")
    table.add_column("class")
    for output in outputs:
        table.add_column(output, justify="right")
    for name in next(iter(outputs.values()))["per_class"]:
        table.add_row(escape(name), *(_percent(output["per_class"][name]) for output in outputs.values()))
    table.add_section()
    table.add_row("mean IoU", *(_percent(output["mean_iou"]) for output in outputs.values()), style="bold")
    table.add_row("pixel accuracy", *(_percent(output["pixel_accuracy"]) for output in outputs.values()))
    Console().print(table)


def _percent(value: float | None) -> str:
    return "absent" if value is None else f"{100 * value:.1f}"
