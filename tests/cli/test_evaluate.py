"""`crosscoop-tf evaluate`, on a run that knows its data: what is printed, and in which forms."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image


def test_all_forms_tell_the_same(crosscoop, run_folder):
    figures = json.loads(crosscoop("evaluate", run_folder, "--json", "--intervals").out)
    table = crosscoop("evaluate", run_folder, "--intervals", "--confusion").out
    rows = list(csv.DictReader(crosscoop("evaluate", run_folder, "--csv").out.splitlines()))
    assert [(row["output"], row["class"]) for row in rows] == [
        (output, name) for output in ("top", "bottom", "ensemble") for name in ("dark", "bright")
    ]
    for row in rows:
        of_class = figures["outputs"][row["output"]]["per_class"][row["class"]]
        assert {key: float(row[key]) for key in of_class} == of_class
    for of_output in figures["outputs"].values():
        low, high = of_output["intervals"]["mean_iou"]
        assert f"{100 * of_output['mean_iou']:.1f} [{100 * low:.1f}, {100 * high:.1f}]" in table
    for row in figures["outputs"]["ensemble"]["confusion"]:
        assert f" {100 * row[0] / sum(row):.1f} " in table or row[0] == 0
    worst = min(figures["per_image"], key=lambda image: image["mean_iou"]["ensemble"])
    assert f"worst images of ensemble: {worst['image']} {100 * worst['mean_iou']['ensemble']:.1f}" in table


def test_windows_scales_and_flip_reach_the_inference(crosscoop, run_folder):
    options = ("--window=24", "--overlap=0.5", "--scales=0.75,1", "--flip")
    figures = json.loads(crosscoop("evaluate", run_folder, "--json", *options).out)
    assert [figures[name] for name in ("window", "overlap", "scales", "flip")] == [24, 0.5, [0.75, 1.0], True]
    whole = json.loads(crosscoop("evaluate", run_folder, "--json").out)
    assert figures["outputs"]["top"]["calibration"] != whole["outputs"]["top"]["calibration"]


def test_a_wrong_label_is_the_first_suspect(crosscoop, run_folder, halves, tmp_path):
    shutil.copytree(halves, tmp_path / "wrong")
    label = tmp_path / "wrong/masks/val/1.png"
    ids = np.asarray(Image.open(label)).copy()
    ids[8:24, 4:16] = 0  # bright, in fact
    assert (ids != np.asarray(Image.open(label))).sum() == 16 * 12
    Image.fromarray(ids).save(label)
    arguments = ("evaluate", run_folder, "--data-dir", tmp_path / "wrong", "--label-errors=2")
    label_errors = json.loads(crosscoop(*arguments, "--json").out)["label_errors"]
    first = label_errors["regions"][0]
    assert (first["image"], first["label"], first["prediction"]) == ("1.png", "dark", "bright")
    np.testing.assert_allclose(first["box"], [4, 8, 12, 16], atol=2)
    assert label_errors["images"][0]["image"] == "1.png"
    assert "1.png" in crosscoop(*arguments).out


def test_predictions_are_written_as_measured(crosscoop, run_folder, halves, tmp_path):
    arguments = ("evaluate", run_folder, "--save-predictions", tmp_path / "out")
    figures = json.loads(crosscoop(*arguments, "--json").out)
    matrix = np.zeros((2, 2), int)
    for number in range(3):
        classes = np.asarray(Image.open(tmp_path / f"out/{number}.png"))
        np.add.at(matrix, (np.asarray(Image.open(halves / f"masks/val/{number}.png")), classes), 1)
    assert matrix.tolist() == figures["outputs"]["ensemble"]["confusion"]
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
        (["--scales=1,big"], "Scales are numbers between commas"),
        (["--scales=0"], "Scales are factors from 0.01 to 10"),
        (["--window=0"], "--window"),
    ],
)
def test_bad_options_take_one_line(crosscoop, run_folder, options, message):
    code, out, err = crosscoop("evaluate", run_folder, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
