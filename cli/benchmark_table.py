"""Formats side by side, as a table."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = ("ms", "x Keras", "p90", "images/s", "memory", "size", "agreement", "mIoU")


def print_benchmark(found: Mapping[str, Any]) -> None:
    """Prints a line for each format, see `keras_crosscoop.export.benchmark.benchmark`."""
    size = "x".join(map(str, found["size"]))
    where = f"{found['threads']} threads" + (", keras and savedmodel on a GPU" if found["gpu"] else "")
    table = Table(title=f"{found['output']}, {size}, one image at a time, {where}")
    table.add_column("format", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for name, figures in found["formats"].items():
        latency, speedup, iou = figures["latency"], figures["speedup"], figures["mean_iou"]
        table.add_row(
            name,
            f"{1000 * latency['median']:.1f}",
            f"{speedup:.2f}" if speedup else "",
            f"{1000 * latency['p90']:.1f}",
            f"{figures['throughput']:.1f}",
            f"{figures['memory'] / 1e6:.0f} MB",
            f"{figures['bytes'] / 1e6:.1f} MB",
            f"{100 * figures['agreement']:.2f} %",
            f"{100 * iou:.1f}" if iou is not None else "",
            ", ".join(_marks(found, name)),
            style="bold" if name == found["fastest"] else None,
        )
    table.caption = (
        "x Keras: how many times as fast, by medians. memory: the most in use, less what modules take. "
        f"agreement: pixels of the live model's class, on {found['images']} images"
    )
    if len(found["together"]) > 1:
        groups = "; ".join(", ".join(group) for group in found["together"])
        table.caption += f". The memory did not hold all at once; in turn with each other were: {groups}"
    Console(width=max(110, Console().width)).print(table)


def _marks(found: Mapping[str, Any], name: str) -> list[str]:
    """What stands out about a format."""
    marks = [mark for mark in ("fastest", "smallest") if found[mark] == name and len(found["formats"]) > 1]
    return marks if found["formats"][name]["agrees"] else [*marks, "disagrees"]
