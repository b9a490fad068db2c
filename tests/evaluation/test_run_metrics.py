"""The metrics of a run are read, or measured where they are missing, and refused where they are damaged."""

import copy
import json

import pytest
from helpers import refused
from networks import LinearNetwork

from keras_crosscoop import config
from keras_crosscoop.errors import InputError
from keras_crosscoop.evaluation import evaluate
from keras_crosscoop.evaluation.report import write_report
from keras_crosscoop.evaluation.run_metrics import evaluate_run, read_history, read_metrics
from keras_crosscoop.runs import Run


def test_existing_metrics_are_read(make_run, make_metrics):
    run, data = make_run()
    metrics = make_metrics(data)
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    assert read_metrics(run, data) == metrics


def test_missing_metrics_are_measured_and_written(make_run, monkeypatch):
    run, data = make_run()
    monkeypatch.setattr(Run, "load", lambda run: LinearNetwork())
    progress = []
    metrics = read_metrics(run, data, lambda done, images: progress.append((done, images)))
    expected = evaluate(LinearNetwork(), data, "val")
    assert metrics.pop("seconds_per_image") > 0
    del expected["seconds_per_image"]
    assert metrics == expected
    assert progress == [(1, 2), (2, 2)]
    assert json.loads((run.folder / "metrics.json").read_text())["outputs"] == expected["outputs"]


def test_a_run_may_measure_a_sample_of_its_split(make_run, tmp_path):
    run, data = make_run(images=5)
    settings = config.settings(run.settings.model_dump(), {"evaluation": {"final_images": 3}})
    metrics = evaluate_run(run.folder, settings, LinearNetwork(), data)
    assert [image["image"] for image in metrics["per_image"]] == ["000.png", "002.png", "004.png"]
    report = write_report(run.with_settings(settings), metrics, LinearNetwork(), data, tmp_path / "sample.html")
    assert "3 images of folder val, spread evenly over the split" in report.read_text("utf-8")
    report = write_report(run, metrics, LinearNetwork(), data, tmp_path / "all.html")
    assert "spread evenly" not in report.read_text("utf-8")


@pytest.mark.parametrize("content", ["{", "[]", '{"outputs": {"top": {"per_class": {"road": 0.5}}}}'])
def test_damaged_metrics_are_refused(make_run, content):
    run, data = make_run()
    (run.folder / "metrics.json").write_text(content)
    assert "Remove it to evaluate the run again" in refused(read_metrics, run, data)


def paths_in(value, path=()):
    """The paths of all entries of nested dicts and lists."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from paths_in(item, (*path, key))


def entry(value, path):
    for key in path:
        value = value[key]
    return value


def test_every_entry_of_the_metrics_is_checked(make_run, make_metrics):
    """No entry may be missing, or have another type, or be out of its range. pydantic reads numbers from strings."""
    run, data = make_run()
    metrics = make_metrics(data)
    for output in metrics["outputs"].values():
        output["calibration"] = {key: values[:2] for key, values in output["calibration"].items()}
    path = run.folder / "metrics.json"
    accepted, paths = set(), list(paths_in(metrics))
    for *parents, key in paths:
        for change in ("removed", {"other": []}, -1, 1e999, "4711"):
            edited = copy.deepcopy(metrics)
            if change == "removed":
                del entry(edited, parents)[key]
            else:
                entry(edited, parents)[key] = change
            path.write_text(json.dumps(edited))
            try:
                read_metrics(run, data)
            except InputError as error:
                assert str(error).endswith(f"Received: {path}")  # noqa: PT017
            else:
                accepted.add(((*parents, key), str(change)))
    assert len(paths) > 130
    images = [("per_image", number) for number in range(2)]
    texts = [("dataset",), ("split",), *((*image, "image") for image in images)]
    numbers = [("images",), ("crop",), ("window",), ("boundary_tolerance",), ("seconds_per_image",), ("scales", 0)]
    counts = [path for path in paths if "confusion" in path[:-2] or "pixels" in path[:-1]]
    allowed = {(path, "4711") for path in (*texts, *numbers, *counts)} | {(image, "removed") for image in images}
    assert accepted <= allowed


def test_metrics_without_values_make_a_report(make_run, make_metrics, tmp_path):
    """Every entry that may be None is None."""
    run, data = make_run()
    metrics = make_metrics(data)
    for path in list(paths_in(metrics)):
        if isinstance(entry(metrics, path), float) and path[0] in ("outputs", "disagreement", "per_image"):
            entry(metrics, path[:-1])[path[-1]] = None
    (run.folder / "metrics.json").write_text(json.dumps(metrics))
    assert read_metrics(run, data) == metrics
    write_report(run, metrics, LinearNetwork(), data, tmp_path / "report.html")


def test_metrics_of_another_network_are_refused(make_run, make_metrics):
    run, data = make_run(bottom=None)
    (run.folder / "metrics.json").write_text(json.dumps(make_metrics(data)))
    message = refused(read_metrics, run, data)
    assert message.startswith("The run's metrics belong to another network (outputs top, bottom,")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"loss\n1\n", "epoch: Field required"),
        (b"epoch,loss\n0,1\n", "epoch: Input should be greater than 0"),
        (b"epoch,loss\n1,2,3\n", "?: Input should be a valid number"),
        (b"epoch,loss\n1,\x00\n", ""),  # The reason depends on the version of Python.
        (b"epoch,loss\n1,\xff\n", "invalid start byte"),
        (b"epoch,loss\n1," + b"9" * 200_000, "field larger than field limit"),
        (b"epoch,loss\n1,many\n", "loss: Input should be a valid number"),
    ],
)
def test_an_edited_history_is_refused(make_run, content, reason):
    run, _ = make_run()
    run.history.write_bytes(content)
    message = refused(read_history, run)
    assert reason in message
    assert message.endswith(f"Received: {run.history}")


def test_the_history_contains_only_measured_values(make_run):
    run, _ = make_run()
    assert read_history(run) == []
    run.history.write_text("epoch,loss,val_loss\n1,2.5,\n2,nan,1.5\n")
    first, second = read_history(run)
    assert first == {"epoch": 1, "loss": 2.5}
    assert second["val_loss"] == 1.5
