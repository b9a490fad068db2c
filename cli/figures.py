"""Figures of an evaluation: as tables, and as CSV."""

import csv
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_crosscoop.evaluation.metrics import FIGURES, best_and_worst

_EXTREMES = 3  # images named on either side


def print_evaluation(figures: dict[str, Any]) -> None:
    """Prints the IoU of each class and the means, a column an output, in percent, and what lies beyond them."""
    outputs = figures["outputs"]
    shown = f"the middle {figures['crop']} pixels of {figures['images']}" if figures["crop"] else figures["images"]
    table = Table(title=f"IoU in % on {figures['dataset']} {figures['split']}, {shown} images")
    if figures["skipped"]:
        table.caption = f"skipped: {len(figures['skipped'])}, the first: {escape(figures['skipped'][0])}"
    table.add_column("class")
    for output in outputs:
        table.add_column(output, justify="right")
    ends = {output: of.get("intervals", {}) for output, of in outputs.items()}
    for name in next(iter(outputs.values()))["per_class"]:
        cells = (
            _percent(of["per_class"][name]["iou"], ends[output].get("per_class", {}).get(name))
            for output, of in outputs.items()
        )
        table.add_row(escape(name), *cells)
    table.add_section()
    for key, name, _ in FIGURES:
        cells = (_percent(of[key], ends[output].get(key)) for output, of in outputs.items())
        if key == "mean_boundary_f":
            name += f", {figures['boundary_tolerance']} px"
        table.add_row(name, *cells, style="bold" if key == "mean_iou" else "")
    intervals = any(ends.values())
    console = Console(width=max(96, Console().width)) if intervals else Console()
    console.print(table)
    if (differ := figures["disagreement"]) and differ["share"]:
        top, bottom, neither, ensemble = (
            _percent(differ[f"{name}_right"]) for name in ("top", "bottom", "neither", "ensemble")
        )
        console.print(
            f"The networks differ on {_percent(differ['share'])} % of the pixels. Of these, top is right on {top} %, "
            f"bottom on {bottom} %, neither on {neither} %; the ensemble on {ensemble} %.",
            highlight=False,
        )
    *_, output = outputs
    for kind, images in zip(("best", "worst"), best_and_worst(figures, _EXTREMES), strict=True):
        named = ", ".join(f"{escape(image['image'])} {_percent(image['mean_iou'][output])}" for image in images)
        console.print(f"{kind} images of {output}: {named}", highlight=False)


def print_confusion(figures: dict[str, Any]) -> None:
    """Prints what the last output takes each class for, in percent of the class's pixels."""
    *_, (output, of_output) = figures["outputs"].items()
    names = list(of_output["per_class"])
    table = Table(title=f"{output}: what each class is taken for, in % of its pixels")
    table.add_column("class")
    for number in range(len(names)):
        table.add_column(str(number), justify="right")
    for number, (name, row) in enumerate(zip(names, of_output["confusion"], strict=True)):
        cells = (f"{100 * pixels / sum(row):.1f}" if pixels else "." for pixels in row)
        table.add_row(f"{number} {escape(name)}", *cells)
    Console(width=max(7 * len(names) + 24, Console().width)).print(table)


def print_label_errors(figures: dict[str, Any]) -> None:
    """Prints the regions whose labels are probably wrong, and the images with most such pixels."""
    table = Table(
        title="Labels that the ensemble contradicts" if "ensemble" in figures["outputs"] else "Suspect labels"
    )
    for column in ("image", "left, top, width, height", "labelled", "predicted"):
        table.add_column(column)
    for column in ("pixels", "of these wrong"):
        table.add_column(column, justify="right")
    for region in figures["label_errors"]["regions"]:
        box = ", ".join(map(str, region["box"]))
        names = (escape(region[key]) for key in ("label", "prediction"))
        table.add_row(escape(region["image"]), box, *names, str(region["pixels"]), f"{region['wrong']:.0f}")
    images = (f"{escape(image['image'])} {image['wrong']:.0f}" for image in figures["label_errors"]["images"])
    table.caption = f"expected wrong pixels by image: {', '.join(images)}"
    Console().print(table)


def print_csv(figures: dict[str, Any]) -> None:
    """Prints the figures of each output and class as CSV, fractions of 1, empty where a class is absent."""
    rows = [
        {"output": output, "class": name, **of_class}
        for output, of_output in figures["outputs"].items()
        for name, of_class in of_output["per_class"].items()
    ]
    if rows:
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _percent(value: float | None, ends: Sequence[float] | None = None) -> str:
    if value is None:
        return "absent"
    return f"{100 * value:.1f}" + (f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]" if ends else "")
