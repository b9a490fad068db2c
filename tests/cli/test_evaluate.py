"""`crosscoop-tf evaluate`: its options and the forms of its output."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image


def test_all_forms_contain_the_same_metrics(crosscoop, stub_run):
    metrics = json.loads(crosscoop("evaluate", stub_run, "--json", "--intervals", "--crop=30").out)
    table = crosscoop("evaluate", stub_run, "--intervals", "--confusion", "--crop=30").out
    rows = list(csv.DictReader(crosscoop("evaluate", stub_run, "--csv", "--crop=30").out.splitlines()))
    assert [(row["output"], row["class"]) for row in rows] == [
        (output, name) for output in ("top", "bottom", "ensemble") for name in ("dark", "bright")
    ]
    for row in rows:
        expected = metrics["outputs"][row["output"]]["per_class"][row["class"]]
        assert {key: float(row[key]) for key in expected} == expected
    assert "cropped to the central 30 pixels, 3 images" in table
    for output in metrics["outputs"].values():
        low, high = output["intervals"]["mean_iou"]
        assert f"{100 * output['mean_iou']:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in table
    for row in metrics["outputs"]["ensemble"]["confusion"]:
        assert f" {100 * row[0] / sum(row):.1f} " in table or row[0] == 0
    worst = min(metrics["per_image"], key=lambda image: image["mean_iou"]["ensemble"])
    assert f"worst images of ensemble: {worst['image']} {100 * worst['mean_iou']['ensemble']:.1f}" in table


def test_options_reach_the_inference(crosscoop, stub_run):
    options = ("--window=24", "--overlap=0.5", "--scales=0.75,1", "--flip", "--boundary-tolerance=5")
    metrics = json.loads(crosscoop("evaluate", stub_run, "--json", *options).out)
    assert [metrics[name] for name in ("window", "overlap", "scales", "flip")] == [24, 0.5, [0.75, 1.0], True]
    assert metrics["boundary_tolerance"] == 5
    whole = json.loads(crosscoop("evaluate", stub_run, "--json", "--split=train").out)
    assert (metrics["split"], metrics["images"], whole["split"], whole["images"]) == ("val", 3, "train", 8)
    assert metrics["outputs"]["top"]["calibration"] != whole["outputs"]["top"]["calibration"]


def test_the_crop_is_the_runs_unless_another_is_given(crosscoop, stub_run):
    path = stub_run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"evaluation": {"crop": 20}}))
    options = ("--split=val", "--crop=10", "--crop=0", "--label-errors=1")
    crops = [json.loads(crosscoop("evaluate", stub_run, "--json", option).out)["crop"] for option in options]
    assert crops == [20, 10, None, None]


def test_a_wrong_label_is_the_first_label_error(crosscoop, stub_run, halves, tmp_path):
    shutil.copytree(halves, tmp_path / "wrong")
    path = tmp_path / "wrong/masks/val/1.png"
    ids = np.array(Image.open(path))
    ids[8:24, 4:16] = 0  # These pixels are bright.
    Image.fromarray(ids).save(path)
    arguments = ("evaluate", stub_run, "--data-dir", tmp_path / "wrong", "--label-errors=2")
    label_errors = json.loads(crosscoop(*arguments, "--json").out)["label_errors"]
    first = label_errors["regions"][0]
    assert (first["image"], first["label"], first["prediction"]) == ("1.png", "dark", "bright")
    np.testing.assert_allclose(first["box"], [4, 8, 12, 16], atol=2)
    assert label_errors["images"][0]["image"] == "1.png"
    assert "Likely label errors (ensemble)" in crosscoop(*arguments).out


def test_predictions_are_written_and_overwritten_only_by_force(crosscoop, stub_run, halves, tmp_path):
    arguments = ("evaluate", stub_run, "--save-predictions", tmp_path / "out")
    metrics = json.loads(crosscoop(*arguments, "--json").out)
    matrix = np.zeros((2, 2), int)
    for number in range(3):
        classes = np.asarray(Image.open(tmp_path / f"out/{number}.png"))
        np.add.at(matrix, (np.asarray(Image.open(halves / f"masks/val/{number}.png")), classes), 1)
    assert matrix.tolist() == metrics["outputs"]["ensemble"]["confusion"]
    again = crosscoop(*arguments)
    assert again.code == 2
    assert "--force" in again.err
    done = crosscoop(*arguments, "--force")
    assert done.code == 0
    assert f"Predictions: {tmp_path / 'out'}" in done.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--split=vall"], 'Did you mean "val"?'),
        (["--scales=1,big"], "Scales are numbers"),
        (["--scales=0"], "Scales must be factors in 0.01 to 10"),
        (["--window=0"], "--window"),
    ],
)
def test_bad_options_take_one_line(crosscoop, stub_run, options, message):
    code, out, err = crosscoop("evaluate", stub_run, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
