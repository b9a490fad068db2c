"""`crosscoop-tf data prepare`: records that the other commands train on, and the download."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import keras_crosscoop.data


@pytest.fixture
def records(crosscoop, halves, tmp_path):
    """The records of `halves`, and what the command said."""
    return tmp_path / "records", crosscoop("data", "prepare", "folder", "--data-dir", halves, "--records", "records")


def test_it_says_what_it_writes_and_what_comes_next(records):
    folder, done = records
    assert done.code == 0
    assert done.out.splitlines() == [
        f"Records: {folder}/folder/1.0.0",
        f"Train from them: crosscoop-tf fit --dataset folder --data-dir {folder}",
    ]
    assert "Records to write: 11 samples, 0.1 MB" in done.err
    assert "Left out" not in done.err


@pytest.mark.slow
def test_training_on_records_is_training_on_files(crosscoop, run_folder, records):
    """The same losses and validation figures in every epoch as of the run on `halves`."""
    folder, _ = records
    done = crosscoop("fit", "--config", run_folder / "config.yaml", "--data-dir", folder, "--output", "run")
    assert done.code == 0, done.err
    of_files, of_records = figures(run_folder), figures(folder.parent / "run")
    assert of_records == of_files
    assert len(of_files) == 5
    assert of_files[0].keys() >= {"loss", "top_loss", "bottom_loss", "val_ensemble_mean_iou"}
    assert of_files[0] != of_files[1]


def figures(run):
    with (run / "history.csv").open() as file:
        return [
            {name: value for name, value in row.items() if "loss" in name or "mean_iou" in name}
            for row in csv.DictReader(file)
        ]


def test_splits_are_chosen_and_absent_ones_left_out(crosscoop, tmp_path):
    for kind in ("train", "trainannot", "val", "valannot"):
        (tmp_path / "camvid" / kind).mkdir(parents=True)
        Image.fromarray(np.full((4, 6), 3, np.uint8)).save(tmp_path / "camvid" / kind / "1.png")
    prepare = ("data", "prepare", "camvid", "--data-dir", "camvid", "--records")
    done = crosscoop(*prepare, "all")
    assert "Left out, as they are not there: test" in done.err
    assert keras_crosscoop.data.dataset("camvid", tmp_path / "all").splits == ("train", "val")
    crosscoop(*prepare, "some", "--split", "val")
    assert keras_crosscoop.data.dataset("camvid", tmp_path / "some").splits == ("val",)
    done = crosscoop(*prepare, "none", "--split", "test")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].endswith("Received: camvid/test")
    assert not (tmp_path / "none").exists()


def test_what_is_there_is_not_overwritten(crosscoop, halves, records):
    folder, _ = records
    done = crosscoop("data", "prepare", "folder", "--data-dir", halves, "--records", folder)
    assert done.code == 2
    assert done.err.startswith('crosscoop-tf: Records are never overwritten, and those of "folder" are there.')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "--data-dir", "."], "Say what to prepare: --records DIR to write records, --download to fetch"),
        (["voc2012", "--data-dir", ".", "--download", "--split", "val"], "--split and --beam-options say how to write"),
        (["voc2012", "--download"], "--download needs --data-dir, the folder to download to."),
        (["voc2013", "--download"], 'There is no data set of that name. Did you mean "voc2012"?'),
        (["cityscapes", "--download"], 'Only "voc2012" can be downloaded by this command. Where "cityscapes" comes'),
        (
            ["cityscapes", "--download"],
            "www.cityscapes-dataset.com/downloads; terms: free for non-commercial use after",
        ),
        (["folder", "--records", "records"], 'Data set "folder" needs --data-dir'),
    ],
)
def test_what_cannot_be_done(crosscoop, arguments, message):
    done = crosscoop("data", "prepare", *arguments)
    assert done.code == 2
    assert message in done.err
    assert len(done.err.splitlines()) == 1


def test_download(crosscoop, monkeypatch, tmp_path):
    calls = []

    def download(data_dir, progress):
        progress("Fetching", 5, 0)
        progress("Fetching", 10, 10)
        calls.append(data_dir)

    monkeypatch.setattr("keras_crosscoop.data.download.download_voc2012", download)
    done = crosscoop("data", "prepare", "voc2012", "--data-dir", "VOC", "--download")
    assert (done.code, done.out, list(map(str, calls))) == (0, "Downloaded: VOC\n", ["VOC"])
    assert "Fetching" in done.err
    done = crosscoop("data", "prepare", "voc2012", "--data-dir", tmp_path, "--download", "--records", "records")
    assert len(calls) == 2
    assert "The folder holds no VOC 2012" in done.err  # the records are written from what was downloaded


def test_ctrl_c_leaves_nothing(tmp_path):
    root, records = tmp_path / "mine", tmp_path / "records"
    (root / "images/train").mkdir(parents=True)
    (root / "masks/train").mkdir(parents=True)
    (root / "classes.txt").write_text("one\n")
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    Image.fromarray(noise).save(root / "image.png")
    Image.fromarray(np.zeros((480, 640), np.uint8)).save(root / "mask.png")
    for number in range(2000):  # seconds
        os.link(root / "image.png", root / f"images/train/{number}.png")
        os.link(root / "mask.png", root / f"masks/train/{number}.png")
    script = "from crosscoop_tf.main import main; main()"
    command = [sys.executable, "-c", script, "data", "prepare", "folder", "--data-dir", root, "--records", records]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(path.stat().st_size for path in records.rglob("*.tfrecord*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "crosscoop-tf: interrupted."
    assert not records.exists()
