"""Results of an evaluation as tables and as CSV."""

import csv
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from keras_crosscoop.evaluation.metrics import METRICS, best_and_worst

_EXAMPLES = 3  # names of the best and of the worst images


def print_metrics(metrics: dict[str, Any]) -> None:
    """Prints the IoU of each class and the metrics in percent, with a column for each output, and a few sentences."""
    outputs = metrics["outputs"]
    crop = f"cropped to the central {metrics['crop']} pixels, " if metrics["crop"] else ""
    title = f"IoU in % on {metrics['dataset']} {metrics['split']}, {crop}{metrics['images']} images"
    table = Table("class", title=title)
    if metrics["skipped"]:
        table.caption = f"skipped: {len(metrics['skipped'])}; reason for the first: {escape(metrics['skipped'][0])}"
    for output in outputs:
        table.add_column(output, justify="right")
    intervals = {output: values.get("intervals", {}) for output, values in outputs.items()}
    for name in next(iter(outputs.values()))["per_class"]:
        cells = (
            _percent(values["per_class"][name]["iou"], intervals[output].get("per_class", {}).get(name))
            for output, values in outputs.items()
        )
        table.add_row(escape(name), *cells)
    table.add_section()
    for key, name, _ in METRICS:
        cells = (_percent(values[key], intervals[output].get(key)) for output, values in outputs.items())
        if key == "mean_boundary_f":
            name += f", {metrics['boundary_tolerance']} px"
        table.add_row(name, *cells, style="bold" if key == "mean_iou" else "")
    console = Console(width=max(96, Console().width)) if any(intervals.values()) else Console()
    console.print(table)
    baseline = metrics["commonest_class"]
    console.print(
        f"To predict {escape(baseline['class'])} everywhere would score a mean IoU of {_percent(baseline['mean_iou'])} "
        f"and a pixel accuracy of {_percent(baseline['pixel_accuracy'])}.",
        highlight=False,
    )
    if (shares := metrics["disagreement"]) and shares["share"]:
        text = {name: _percent(share) for name, share in shares.items()}
        console.print(
            f"The networks differ on {text['share']} % of the pixels. On these pixels, top is right on "
            f"{text['top_right']} %, bottom on {text['bottom_right']} %, neither on {text['neither_right']} %, and the "
            f"ensemble on {text['ensemble_right']} %.",
            highlight=False,
        )
    *_, output = outputs
    for rank, images in zip(("best", "worst"), best_and_worst(metrics, _EXAMPLES), strict=True):
        listed = ", ".join(f"{escape(image['image'])} {_percent(image['mean_iou'][output])}" for image in images)
        console.print(f"{rank} images of {output}: {listed}", highlight=False)


def print_confusion(metrics: dict[str, Any]) -> None:
    """Prints the confusion matrix of the last output, in percent of each label's pixels."""
    *_, (output, values) = metrics["outputs"].items()
    names = list(values["per_class"])
    table = Table("class", title=f"{output}: predictions (columns) for each label (rows), in % of the label's pixels")
    for number in range(len(names)):
        table.add_column(str(number), justify="right")
    for number, (name, row) in enumerate(zip(names, values["confusion"], strict=True)):
        cells = (f"{100 * pixels / sum(row):.1f}" if pixels else "." for pixels in row)
        table.add_row(f"{number} {escape(name)}", *cells)
    Console(width=max(7 * len(names) + 24, Console().width)).print(table)


def print_label_errors(metrics: dict[str, Any]) -> None:
    """Prints the regions that are probably labelled wrongly, and the images with most such pixels."""
    *_, output = metrics["outputs"]
    table = Table("image", "left, top, width, height", "label", "prediction", title=f"Likely label errors ({output})")
    for column in ("pixels", "expected wrong pixels"):
        table.add_column(column, justify="right")
    for region in metrics["label_errors"]["regions"]:
        box = ", ".join(map(str, region["box"]))
        names = (escape(region[key]) for key in ("label", "prediction"))
        table.add_row(escape(region["image"]), box, *names, str(region["pixels"]), f"{region['wrong']:.0f}")
    images = (f"{escape(image['image'])} {image['wrong']:.0f}" for image in metrics["label_errors"]["images"])
    table.caption = f"images with the most expected wrong pixels: {', '.join(images)}"
    Console().print(table)


def print_csv(metrics: dict[str, Any]) -> None:
    """Prints the metrics of each output and class as CSV: fractions of 1, empty for a class without labels."""
    rows = [
        {"output": output, "class": name, **class_metrics}
        for output, values in metrics["outputs"].items()
        for name, class_metrics in values["per_class"].items()
    ]
    if rows:
        writer = csv.DictWriter(sys.stdout, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _percent(value: float | None, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "absent"
    return f"{100 * value:.1f}" + (f" [{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]" if interval else "")
