"""Charts show the values in their series' colours."""

import base64
import re

import pytest

from keras_crosscoop.evaluation.report.charts import Curves, learning_curves, reliability_diagram


@pytest.fixture(autouse=True)
def plain_charts():
    """Charts are drawn here."""


def svg_of(chart):
    return base64.b64decode(chart.uri.removeprefix("data:image/svg+xml;base64,")).decode().lower()


def test_learning_curves_show_the_history():
    history = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25, "val_loss": 1.5, "val_mean_iou": 0.5}]
    unmeasured = Curves("bottom", history, "other_loss", "other_iou")
    loss, iou = learning_curves([Curves("top", history, "loss", "val_mean_iou"), unmeasured])
    assert loss.alt == "Loss by epoch. Last values: top, training 1.25, top, validation 1.5."
    assert iou.alt == "Validation mean IoU, % by epoch. Last values: top 50."
    svg = svg_of(loss)
    assert ">top, validation</text>" in svg
    assert "#0072b2" in svg
    assert "#e69f00" not in svg
    assert learning_curves([unmeasured]) == []


def test_the_reliability_diagram_leaves_empty_bins_out(make_run, make_metrics):
    _, data = make_run()
    svg = svg_of(reliability_diagram(make_metrics(data)["outputs"]))
    assert len(re.findall(r"<use [^>]*fill: #0072b2", svg)) == 14 + 1  # points, and one in the legend
