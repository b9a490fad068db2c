"""Charts as SVG, in colours and shapes that colour-blind readers can distinguish."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_crosscoop.evaluation.report.page import COLOURS
from keras_crosscoop.evaluation.run_metrics import History

MARKERS = "os^Dv*P"
SIZE = (4.6, 3.6)  # inches: about the width of a phone, so that charts need not shrink there
_STYLE = {
    "svg.fonttype": "none",  # Text is stored as text, not as outlines.
    "svg.hashsalt": "keras-crosscoop",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
}


class Chart(NamedTuple):
    """An image as a data URI, and its alternative text."""

    uri: str
    alt: str


class Curves(NamedTuple):
    """The history of an output or of a run, and the columns of its training loss and validation mean IoU."""

    label: str
    history: History
    loss: str
    mean_iou: str


def learning_curves(runs: Sequence[Curves]) -> list[Chart]:
    """Draws charts of the losses and of the mean IoU by epoch; a chart without values is left out."""
    charts = []
    for title, factor in (("Loss", 1), ("Validation mean IoU, %", 100)):
        last_values = []
        with mpl.rc_context(_STYLE):
            figure = Figure(SIZE, layout="constrained")
            axes = figure.subplots()
            for series, (label, history, loss, mean_iou) in enumerate(runs):
                columns = {f"{label}, training": loss, f"{label}, validation": f"val_{loss}"}
                for name, column in (columns if title == "Loss" else {label: mean_iou}).items():
                    points = [(row["epoch"], factor * row[column]) for row in history if column in row]
                    if not points:
                        continue
                    dashed = name.endswith("validation")
                    axes.plot(
                        *zip(*points, strict=True),
                        label=name,
                        color=COLOURS[series % len(COLOURS)],
                        marker=MARKERS[series % len(MARKERS)],
                        markevery=max(1, len(points) // 10),
                        markerfacecolor="white" if dashed else None,
                        linestyle="--" if dashed else "-",
                    )
                    last_values.append(f"{name} {points[-1][1]:.3g}")
            if last_values:
                axes.set(title=title, xlabel="epoch")
                axes.set_xlim(0.5, max(row["epoch"] for run in runs for row in run.history) + 0.5)
                axes.xaxis.set_major_locator(MaxNLocator(integer=True))
                charts.append(_svg(figure, f"{title} by epoch. Last values: {', '.join(last_values)}."))
    return charts


def reliability_diagram(outputs: Mapping[str, Mapping[str, Any]]) -> Chart:
    """Draws the accuracy of each output by its confidence, above the share of pixels with this confidence.

    Args:
        outputs: The `outputs` of `evaluate`.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((SIZE[0], 1.35 * SIZE[1]), layout="constrained")
        axes, histogram = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 100], [0, 100], color="#767676", linestyle=":", label="perfectly calibrated")
        for series, (name, output) in enumerate(outputs.items()):
            bins, colour = output["calibration"], COLOURS[series % len(COLOURS)]
            confidence, accuracy = (
                100 * np.array([value for value in bins[key] if value is not None])
                for key in ("confidence", "accuracy")
            )
            axes.plot(confidence, accuracy, color=colour, marker=MARKERS[series % len(MARKERS)], label=name)
            pixels = np.array(bins["pixels"])
            edges = np.linspace(0, 100, len(pixels) + 1)
            histogram.stairs(100 * pixels / max(pixels.sum(), 1), edges, color=colour, linewidth=1.5)
        axes.set(title="Calibration", ylabel="accuracy, %")
        histogram.set(ylabel="% of pixels", xlabel="confidence, %")
        return _svg(figure, "Accuracy of each output by its confidence. On the dotted line, they are equal.")


def _svg(figure: Figure, alt: str) -> Chart:
    """Adds the legend and renders the chart. In a data URI, its ids cannot collide with another chart's."""
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    file = BytesIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return Chart(f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}", alt)
