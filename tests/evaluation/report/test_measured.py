"""Figures are read where they lie, measured where they are missing, and refused where they are damaged."""

import copy
import json

import pytest
from helpers import refused

from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import evaluate
from keras_crosscoop.evaluation.report import measured, write_report
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
    assert "outputs.top: its means are also over classes that no label has). It was edited" in refused(
        measured, run, data
    )


def places(value, path=()):
    """All that a structure of dicts and lists holds, by the way to it."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from places(item, (*path, key))


def inside(value, path):
    for key in path:
        value = value[key]
    return value


def test_every_part_of_figures_is_checked(make_run, make_figures):
    """None can lack, but for what another version may add, and none be of another kind, or out of its range."""
    run, data = make_run()
    figures = make_figures(data)
    path = run.folder / "metrics.json"
    accepted = []
    every = list(places(figures))
    for place in every:
        *above, key = place
        for change in ("removed", {"other": []}, -1, 1e999, "4711"):
            edited = copy.deepcopy(figures)
            if change == "removed":
                del inside(edited, above)[key]
            else:
                inside(edited, above)[key] = change
            path.write_text(json.dumps(edited))
            try:
                measured(run, data)
            except InputError as error:
                assert str(error).endswith(f"Received: {path}")  # noqa: PT017 - of those that may be raised
            else:
                accepted.append((place, change))
    assert len(every) > 250
    texts = [(*("per_image", number, "image"),) for number in range(2)]
    removed = [("per_image", 0), ("per_image", 1), ("scales", 0)]
    allowed = {(place, "4711") for place in [("dataset",), ("split",), *texts]} | {
        (place, "removed") for place in removed[:2]
    }
    numbers = {("images",), ("crop",), ("window",), ("boundary_tolerance",), ("seconds_per_image",), ("scales", 0)}
    counts = {place for place in every if "confusion" in place[:-2] or "pixels" in place[:-1]}
    allowed |= {(place, "4711") for place in numbers | counts}
    assert {(place, change) for place, change in accepted if not isinstance(change, dict)} <= allowed
    assert not [place for place, change in accepted if isinstance(change, dict)]


def test_a_report_of_figures_that_could_not_be_measured(make_run, make_figures, linear, tmp_path):
    """All that may be None is."""
    run, data = make_run()
    figures = make_figures(data)
    for place in list(places(figures)):
        if isinstance(inside(figures, place), float) and place[0] in ("outputs", "disagreement", "per_image"):
            inside(figures, place[:-1])[place[-1]] = None
    (run.folder / "metrics.json").write_text(json.dumps(figures))
    found = measured(run, data)
    assert found == figures
    write_report(run, found, linear(), data, tmp_path / "report.html")


def test_figures_of_another_network_are_told(make_run, make_figures):
    run, data = make_run(bottom=None)
    (run.folder / "metrics.json").write_text(json.dumps(make_figures(data)))
    assert refused(measured, run, data).startswith("The run's figures are of another network (outputs top, bottom,")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"loss\n1\n", "epoch: Field required"),
        (b"epoch,loss\n0,1\n", "epoch: Input should be greater than 0"),
        (b"epoch,loss\n1,2,3\n", "?: Input should be a valid number"),
        (b"epoch,loss\n1,\x00\n", "line contains NUL"),
        (b"epoch,loss\n1,\xff\n", "invalid start byte"),
        (b"epoch,loss\n1," + b"9" * 200_000, "field larger than field limit"),
        (b"epoch,loss\n1,many\n", "loss: Input should be a valid number"),
    ],
)
def test_an_edited_history_is_told(make_run, content, why):
    run, _ = make_run()
    run.history.write_bytes(content)
    message = refused(history, run)
    assert why in message or "loss: Input should be a valid number" in message
    assert message.endswith(f"Received: {run.history}")


def test_the_history_leaves_out_what_was_not_measured(make_run):
    run, _ = make_run()
    assert history(run) == []
    run.history.write_text("epoch,loss,val_loss\n1,2.5,\n2,nan,1.5\n")
    first, second = history(run)
    assert first == {"epoch": 1, "loss": 2.5}
    assert second["val_loss"] == 1.5
    run.history.write_text("epoch,loss\n1,many\n")
    assert str(run.history) in refused(history, run)
