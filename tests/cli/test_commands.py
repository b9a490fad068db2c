"""From files to a run, its figures and its pictures, through the command line."""

import csv
import errno
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from helpers import TINY_FIT
from PIL import Image

from keras_crosscoop import evaluation, load
from keras_crosscoop.images import read_label

TINY = (*TINY_FIT, "--epochs=1")


def test_fit_learns_and_leaves_a_whole_run(run_folder):
    assert {path.name for path in run_folder.iterdir()} == {
        *("config.yaml", "classes.json", "best.weights.h5", "history.csv", "metrics.json"),
        *("pictures", "tensorboard", "checkpoints"),
    }
    outputs = json.loads((run_folder / "metrics.json").read_text())["outputs"]
    assert list(outputs) == ["top", "bottom", "ensemble"]
    assert all(output["mean_iou"] > 0.8 for output in outputs.values())  # halves of brightness: guessing gives 0.25
    rows = list(csv.DictReader((run_folder / "history.csv").read_text().splitlines()))
    assert len(rows) == 5
    assert float(rows[-1]["loss"]) == pytest.approx(
        float(rows[-1]["top_loss"]) + float(rows[-1]["bottom_loss"]), rel=1e-5
    )
    assert max(float(row["val_top_mean_iou"]) for row in rows) > 0.8
    assert len(list((run_folder / "pictures").glob("*.png"))) == 3


def test_the_config_holds_what_was_asked_for(run_folder, halves):
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert config["data"]["dir"] == str(halves)  # an option
    assert config["model"]["width"] == 8  # --set, over the recipe's 128
    assert config["train"]["momentum"] == 0.9  # the default
    assert config["model"]["weights"] is None


def test_evaluate_prints_the_figures_of_fit(crosscoop, run_folder):
    code, out, _ = crosscoop("evaluate", run_folder, "--json")
    assert code == 0
    figures = json.loads(out)
    saved = json.loads((run_folder / "metrics.json").read_text())
    assert (figures["dataset"], figures["split"], figures["images"]) == ("folder", "val", 3)
    for name, output in saved["outputs"].items():
        assert figures["outputs"][name]["per_class"] == pytest.approx(output["per_class"], abs=1e-3)
        assert set(output["per_class"]) == {"dark", "bright"}
    table = crosscoop("evaluate", run_folder, "--split", "train").out
    assert "bright" in table
    assert "ensemble" in table


def test_evaluate_refuses_a_data_set_of_other_classes(crosscoop, run_folder, make_folder):
    code, _, err = crosscoop("evaluate", run_folder, "--dataset", "folder", "--data-dir", make_folder())
    assert code == 2
    assert "knows 2 classes (dark, bright)" in err
    assert "has 3 (road, sky, car)" in err


def test_predict_writes_ids_and_an_overlay(crosscoop, run_folder, halves, tmp_path):
    images = sorted((halves / "images/val").iterdir())
    code, _, _ = crosscoop("predict", run_folder, *images, "--output", "out")
    assert code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{image.stem}{ending}" for image in images for ending in (".png", "_overlay.png")
    )
    model = load(run_folder)
    for image in images:
        np.testing.assert_array_equal(read_label(tmp_path / "out" / image.name), model.segment(image))
    with Image.open(tmp_path / "out" / images[0].name) as ids:
        assert ids.mode == "P"
        assert ids.getpalette()[:6] == [0x10, 0x20, 0x30, 0xF0, 0xE0, 0xD0]


@pytest.mark.parametrize("what", ["a text", "nothing", "a truncated image"])
def test_predict_names_an_image_that_cannot_be_read(crosscoop, run_folder, halves, tmp_path, what):
    bad = tmp_path / "bad.png"
    if what == "a text":
        bad.write_text("no image")
    elif what == "a truncated image":
        whole = (halves / "images/val/0.png").read_bytes()
        bad.write_bytes(whole[: len(whole) // 2])
    code, _, err = crosscoop("predict", run_folder, bad, "--output", "out")
    assert code == 2
    assert err.strip().splitlines()[-1].startswith("crosscoop-tf: ")
    assert "bad.png" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("out/*"))


def test_predict_overwrites_only_when_told(crosscoop, run_folder, halves, tmp_path):
    image = halves / "images/val/0.png"
    (tmp_path / "out").mkdir()
    (tmp_path / "out/0.png").write_text("mine")
    code, _, err = crosscoop("predict", run_folder, image, "--output", "out")
    assert code == 2
    assert "--force" in err
    assert (tmp_path / "out/0.png").read_text() == "mine"
    assert crosscoop("predict", run_folder, image, "--output", "out", "--force").code == 0
    assert read_label(tmp_path / "out/0.png").shape == (32, 48)


def test_predict_never_writes_over_its_own_image(crosscoop, run_folder, halves, tmp_path):
    image = tmp_path / "photo.png"
    image.write_bytes((halves / "images/val/0.png").read_bytes())
    before = image.read_bytes()
    code, _, err = crosscoop("predict", run_folder, image, "--output", ".", "--force")
    assert code == 2
    assert "its own prediction" in err
    assert image.read_bytes() == before


def test_a_single_network_is_trained_without_bottom(crosscoop, halves, tmp_path):
    arguments = ("fit", *TINY, "--bottom=none", f"--data-dir={halves}", "--output=single", "--set=model.width=8")
    assert crosscoop(*arguments).code == 0
    assert list(json.loads((tmp_path / "single/metrics.json").read_text())["outputs"]) == ["single"]


def test_fit_never_writes_into_a_used_folder(crosscoop, halves, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    code, _, err = crosscoop("fit", *TINY, f"--data-dir={halves}", "--output=mine")
    assert code == 2
    assert "Name another with --output" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_image_that_breaks_amid_training_ends_the_run_in_one_line(crosscoop, make_folder, tmp_path):
    root = make_folder(size=(64, 64))
    image = sorted((root / "images/train").iterdir())[2]
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])  # the header is fine
    code, _, err = crosscoop("fit", *TINY, f"--data-dir={root}", "--output=run")
    assert code == 2
    assert str(image) in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_weights_that_do_not_fit_are_named_before_anything_is_written(crosscoop, halves, tmp_path):
    (tmp_path / "other.weights.h5").write_text("no weights")
    for option, value in (("--top-weights", "missing.weights.h5"), ("--bottom-weights", "other.weights.h5")):
        code, _, err = crosscoop("fit", *TINY, f"--data-dir={halves}", option, value, "--output=run")
        assert code == 2
        assert err.splitlines()[-1].startswith("crosscoop-tf: ")
        assert value in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("jax") is not None, reason="jax is here")
def test_a_backend_that_is_not_installed_is_told_in_one_line():
    program = "from crosscoop_tf.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "fit"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "crosscoop-tf: Keras's backend is not installed. Unset KERAS_BACKEND. Received: 'jax'"
    )


def test_a_full_disk_is_told_in_one_line(crosscoop, run_folder, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.json")

    monkeypatch.setattr(evaluation, "evaluate", fill)
    code, _, err = crosscoop("evaluate", run_folder)
    assert code == 2
    assert err.splitlines()[-1] == "crosscoop-tf: The disk is full. Make room, then try again. Received: metrics.json"
