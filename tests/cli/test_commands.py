"""From files to a run, its metrics and its pictures, through the command line."""

import csv
import errno
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf
import yaml
from helpers import TINY_FIT, untimed

from keras_crosscoop import evaluation

MICRO = (*TINY_FIT, "--top=micro_3x3", "--bottom=micro_5x5", "--epochs=1")


def test_fit_learns_and_leaves_a_whole_run(run_folder):
    assert {path.name for path in run_folder.iterdir()} == {
        *("config.yaml", "classes.json", "best.weights.h5", "history.csv", "metrics.json", "report.html"),
        "timings.json",
        *("pictures", "tensorboard", "checkpoints", ".lock"),
        *(
            "dataset.yaml",
            "train.csv",
            "val.csv",
            "data_check.json",
            "class_positions.npz",
        ),  # how the images are read, and what they hold
    }
    outputs = json.loads((run_folder / "metrics.json").read_text())["outputs"]
    assert list(outputs) == ["top", "bottom", "ensemble"]
    assert all(output["mean_iou"] > 0.8 for output in outputs.values())  # halves of brightness: guessing gives 0.25
    rows = list(csv.DictReader((run_folder / "history.csv").read_text().splitlines()))
    assert len(rows) == 3
    assert float(rows[-1]["loss"]) == pytest.approx(
        float(rows[-1]["top_loss"]) + float(rows[-1]["bottom_loss"]), rel=1e-5
    )
    assert max(float(row["val_top_mean_iou"]) for row in rows) > 0.8
    assert len(list((run_folder / "pictures").glob("*.png"))) == 3


def test_the_config_holds_what_was_asked_for(run_folder, halves):
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    assert config["data"]["dir"] == str(halves)  # an option
    assert config["model"]["decoder_channels"] == 8  # --set, over the recipe's 64
    assert config["train"]["batch_norm"] == "sync"  # the default
    assert config["model"]["weights"] is None


def test_evaluate_prints_the_metrics_of_fit(crosscoop, run_folder):
    code, out, _ = crosscoop("evaluate", run_folder, "--json")
    assert code == 0
    assert untimed(out) == untimed(run_folder / "metrics.json")
    metrics = json.loads(out)
    assert (metrics["dataset"], metrics["split"], metrics["images"]) == ("folder", "val", 3)
    assert all(set(output["per_class"]) == {"dark", "bright"} for output in metrics["outputs"].values())


def test_evaluate_refuses_a_data_set_of_other_classes(crosscoop, stub_run, make_folder):
    code, _, err = crosscoop("evaluate", stub_run, "--dataset", "folder", "--data-dir", make_folder())
    assert code == 2
    assert "has 2 classes (dark, bright)" in err
    assert "has 3 (road, sky, car)" in err


def test_fit_never_writes_into_a_used_folder(crosscoop, halves, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    code, _, err = crosscoop("fit", *MICRO, f"--data-dir={halves}", "--output=mine")
    assert code == 2
    assert "Name another with --output" in err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_weights_that_do_not_fit_are_named_before_anything_is_written(crosscoop, halves, tmp_path):
    (tmp_path / "other.weights.h5").write_text("no weights")
    for option, value in (("--top-weights", "missing.weights.h5"), ("--bottom-weights", "other.weights.h5")):
        code, _, err = crosscoop("fit", *MICRO, f"--data-dir={halves}", option, value, "--output=run")
        assert code == 2
        assert err.splitlines()[-1].startswith("crosscoop-tf: ")
        assert value in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'jax'", name="jax"), "The Keras backend is not installed. .*'jax'"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.json"), "The disk is full. .*metrics.json"),
        (OSError(errno.ENAMETOOLONG, "too long", "a" * 300), "The path is too long for this file system. .*aaa"),
        (OSError(errno.ESTALE, os.strerror(errno.ESTALE), "a.json"), r"cannot be used \(Stale file handle\). .*a.json"),
        (tf.errors.ResourceExhaustedError(None, None, "OOM when\nof shape [9,9]"), "Out of memory. .*OOM when of"),
        (np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("float32")), "Out of memory. .*Unable to allocate"),
    ],
)
def test_errors_of_the_machine_take_one_line(crosscoop, stub_run, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(evaluation, "evaluate", fail)
    code, _, err = crosscoop("evaluate", stub_run)
    assert code == 2
    assert re.fullmatch(f"crosscoop-tf: .*{message}.*", err.splitlines()[-1])
    assert "Traceback" not in err
