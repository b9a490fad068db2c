"""Charts as SVG, in colours and shapes that the colour-blind tell apart."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keras_crosscoop.evaluation.report.measured import History

# Okabe and Ito, "Color Universal Design", 2008. The first two and black also differ in grey.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
MARKERS = "os^Dv*P"
SIZE = (4.6, 3.6)  # inches: about the width of a phone, so that text keeps its size there
_STYLE = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "keras-crosscoop",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
}


class Chart(NamedTuple):
    """A picture, and what it tells to who does not see it."""

    picture: str
    text: str


class Curve(NamedTuple):
    """Figures by epoch.

    Attributes:
        label: what they are of.
        column: of `history.csv`.
        history: where they stand.
        series: decides colour and marker.
        dashed: whether the line is.
    """

    label: str
    column: str
    history: History
    series: int
    dashed: bool = False

    @property
    def points(self) -> list[tuple[float, float]]:
        """(epoch, figure) where there is one."""
        return [(row["epoch"], row[self.column]) for row in self.history if self.column in row]


def learning_curves(losses: Sequence[Curve], ious: Sequence[Curve]) -> list[Chart]:
    """A chart of the losses and one of mean IoU, as far as there are any."""
    charts = ("Loss", 1, losses), ("Mean IoU in validation, %", 100, ious)
    there = [(title, factor, [curve for curve in curves if curve.points]) for title, factor, curves in charts]
    return [_by_epoch(title, factor, curves) for title, factor, curves in there if curves]


def _by_epoch(title: str, factor: float, curves: Sequence[Curve]) -> Chart:
    last = []
    with mpl.rc_context(_STYLE):
        figure = Figure(SIZE, layout="constrained")
        axes = figure.subplots()
        for curve in curves:
            epochs, values = np.array(curve.points).T
            values = factor * values
            axes.plot(
                epochs,
                values,
                label=curve.label,
                color=COLOURS[curve.series % len(COLOURS)],
                marker=MARKERS[curve.series % len(MARKERS)],
                markevery=max(1, len(epochs) // 10),
                markerfacecolor="white" if curve.dashed else None,
                linestyle="--" if curve.dashed else "-",
            )
            last.append(f"{curve.label} {values[-1]:.3g}")
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, max(row["epoch"] for curve in curves for row in curve.history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
        return Chart(_svg(figure), f"{title} by epoch. At last: {', '.join(last)}.")


def calibration(outputs: Mapping[str, Mapping[str, Any]]) -> Chart:
    """How often each output is right by how sure it is, above the share of pixels where it is so sure.

    Args:
        outputs: label -> `calibration` of `evaluate`.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure((SIZE[0], 1.35 * SIZE[1]), layout="constrained")
        axes, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
        axes.plot([0, 100], [0, 100], color="#767676", linestyle=":", label="as sure as right")
        for series, (name, bins) in enumerate(outputs.items()):
            pixels = np.array(bins["pixels"])
            colour = COLOURS[series % len(COLOURS)]
            confidence, accuracy = (
                100 * np.array([value for value in bins[of] if value is not None]) for of in ("confidence", "accuracy")
            )
            axes.plot(confidence, accuracy, color=colour, marker=MARKERS[series % len(MARKERS)], label=name)
            edges = np.linspace(0, 100, len(pixels) + 1)
            below.stairs(100 * pixels / max(pixels.sum(), 1), edges, color=colour, linewidth=1.5)
        axes.set_title("Calibration")
        axes.set_ylabel("right, % of pixels")
        below.set_ylabel("% of pixels")
        below.set_xlabel("probability of the class named, %")
        figure.legend(loc="outside lower center", ncols=2, fontsize="small", frameon=False)
        return Chart(_svg(figure), "How often outputs are right by how sure they are; on the dotted line, as often.")


def _svg(figure: Figure) -> str:
    """As a data URI: the ids of several inlined in one page would clash."""
    file = BytesIO()
    FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{b64encode(file.getvalue()).decode()}"
