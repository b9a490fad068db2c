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
SIZE = (4.6, 3.6)  # inches: about the width of a phone, where text keeps its size
_STYLE = {
    "svg.fonttype": "none",  # Text stays text.
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


class Curve(NamedTuple):
    """The values of one column of a `history.csv` by epoch.

    Attributes:
        label: Its text in the legend.
        column: The column.
        history: The history.
        series: The number of its colour and marker.
        dashed: Whether the line is dashed.
    """

    label: str
    column: str
    history: History
    series: int
    dashed: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        """Pairs of epoch and value, for the epochs that have one."""
        return [(row["epoch"], row[self.column]) for row in self.history if self.column in row]


def learning_curves(losses: Sequence[Curve], ious: Sequence[Curve]) -> list[Chart]:
    """Draws a chart of the losses and one of mean IoU, each only if it has any point."""
    charts = ("Loss", 1, losses), ("Validation mean IoU, %", 100, ious)
    measured = [(title, factor, [curve for curve in curves if curve.points]) for title, factor, curves in charts]
    return [_chart_by_epoch(title, factor, curves) for title, factor, curves in measured if curves]


def _chart_by_epoch(title: str, factor: float, curves: Sequence[Curve]) -> Chart:
    last_values = []
    with mpl.rc_context(_STYLE):
        figure = Figure(SIZE, layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            epochs, values = np.array(curve.points).T
            axes.plot(
                epochs,
                factor * values,
                label=curve.label,
                color=COLOURS[curve.series % len(COLOURS)],
                marker=MARKERS[curve.series % len(MARKERS)],
                markevery=max(1, len(epochs) // 10),
                markerfacecolor="white" if curve.dashed else None,
                linestyle="--" if curve.dashed else "-",
            )
            last_values.append(f"{curve.label} {factor * values[-1]:.3g}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, max(row["epoch"] for curve in curves for row in curve.history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, f"{title} by epoch. Last values: {', '.join(last_values)}.")


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
        axes.set_title("Calibration")
        axes.set_ylabel("accuracy, %")
        histogram.set_ylabel("% of pixels")
        histogram.set_xlabel("confidence, %")
        return _svg(figure, "Accuracy of each output by its confidence. On the dotted line both are equal.")


def _svg(figure: Figure, alt: str) -> Chart:
    """Adds the legend. The data URI keeps the ids of several charts in one page apart."""
    figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
    file = BytesIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return Chart(f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}", alt)
