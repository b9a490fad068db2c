"""Figures are read where they lie, measured where they are missing, and refused where they are damaged."""

import json

import pytest
from helpers import refused

from keras_crosscoop.evaluation import evaluate
from keras_crosscoop.evaluation.report import measured
from keras_crosscoop.evaluation.report.measured import history
from keras_crosscoop.runs import build


def test_figures_are_read_if_they_are_there(make_run, make_figures):
    run, data = make_run()
    figures = make_figures(data)
    (run.folder / "metrics.json").write_text(json.dumps(figures))
    assert measured(run, data) == figures


def test_figures_are_measured_and_written_if_they_are_not(make_run):
    run, data = make_run()
    run.save_weights(build(run.settings.model, 3))
    seen = []
    figures = measured(run, data, lambda done, images: seen.append((done, images)))
    expected = evaluate(run.load(), data, "val")
    assert figures.pop("seconds_per_image") > 0
    del expected["seconds_per_image"]
    assert figures == expected
    assert seen == [(1, 2), (2, 2)]
    assert json.loads((run.folder / "metrics.json").read_text())["outputs"] == expected["outputs"]


@pytest.mark.parametrize("content", ["{", "[]", '{"outputs": {"top": {"per_class": {"road": 0.5}}}}'])
def test_damaged_figures_are_told(make_run, content):
    run, data = make_run()
    (run.folder / "metrics.json").write_text(content)
    assert "Remove the file, and they are measured anew" in refused(measured, run, data)


def test_means_of_an_earlier_version_are_told(make_run, make_figures):
    """It gave a class that only predictions have an IoU of 0, so that means were over other classes by output."""
    run, data = make_run()
    path, figures = run.folder / "metrics.json", make_figures(data)
    of_class = figures["outputs"]["top"]["per_class"]["sky"]
    of_class["iou"], figures["outputs"]["top"]["confusion"][1] = None, [0, 0, 0]
    path.write_text(json.dumps(figures))
    assert measured(run, data) == figures
    of_class["iou"] = 0.0
    path.write_text(json.dumps(figures))
    assert "(its means are also over classes that no label has). Remove the file" in refused(measured, run, data)


def test_the_history_leaves_out_what_was_not_measured(make_run):
    run, _ = make_run()
    assert history(run) == []
    run.history.write_text("epoch,loss,val_loss\n1,2.5,\n2,nan,1.5\n")
    first, second = history(run)
    assert first == {"epoch": 1, "loss": 2.5}
    assert second["val_loss"] == 1.5
    run.history.write_text("epoch,loss\n1,many\n")
    assert str(run.history) in refused(history, run)
