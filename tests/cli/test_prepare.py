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
    """The records of `halves`, and the output of the command."""
    return tmp_path / "records", crosscoop("data", "prepare", "folder", "--data-dir", halves, "--records", "records")


def test_the_output_names_the_records_and_the_next_command(records):
    folder, done = records
    assert done.code == 0
    assert done.out.splitlines() == [
        f"Records: {folder}/folder/1.0.0",
        f"Train from them: crosscoop-tf fit --dataset folder --data-dir {folder}",
    ]
    assert "Records to write: 11 samples, 0.1 MB" in done.err
    assert "left out" not in done.err


@pytest.mark.slow
def test_training_on_records_is_training_on_files(crosscoop, run_folder, records):
    """The losses and metrics of every epoch are those of the run on `halves`."""
    folder, _ = records
    done = crosscoop("fit", "--config", run_folder / "config.yaml", "--data-dir", folder, "--output", "run")
    assert done.code == 0, done.err
    of_files, of_records = metrics(run_folder), metrics(folder.parent / "run")
    assert of_records == of_files
    assert len(of_files) == 3
    assert of_files[0].keys() >= {"loss", "top_loss", "bottom_loss", "val_ensemble_mean_iou"}
    assert of_files[0] != of_files[1]


def metrics(run):
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
    assert "Splits without files, which are left out: test" in done.err
    assert keras_crosscoop.data.dataset("camvid", tmp_path / "all").splits == ("train", "val")
    crosscoop(*prepare, "some", "--split", "val")
    assert keras_crosscoop.data.dataset("camvid", tmp_path / "some").splits == ("val",)
    done = crosscoop(*prepare, "none", "--split", "test")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1].endswith("Received: camvid/test")
    assert not (tmp_path / "none").exists()


def test_existing_records_are_not_overwritten(crosscoop, halves, records):
    folder, _ = records
    done = crosscoop("data", "prepare", "folder", "--data-dir", halves, "--records", folder)
    assert done.code == 2
    assert done.err.startswith('crosscoop-tf: Records of "folder" exist, and are never overwritten.')


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["folder", "--data-dir", "."], "Nothing to prepare. Use --records DIR to write records, --download to"),
        (["voc2012", "--data-dir", ".", "--download", "--split", "val"], "--split and --beam-options need --records"),
        (["voc2012", "--download"], "--download needs --data-dir, the folder to download to."),
        (["voc2013", "--download"], 'There is no data set of that name. Did you mean "voc2012"?'),
        (["cityscapes", "--download"], 'This command can only download "voc2012". The source of "cityscapes" is'),
        (
            ["cityscapes", "--download"],
            "www.cityscapes-dataset.com/downloads; terms: free for non-commercial use after",
        ),
        (["folder", "--records", "records"], 'Data set "folder" needs --data-dir'),
    ],
)
def test_bad_arguments(crosscoop, arguments, message):
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
    assert "The folder does not hold VOC 2012" in done.err  # the records are written from what was downloaded


def test_an_interruption_leaves_nothing(crosscoop, halves, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    interrupt.cache_clear = lambda: None
    monkeypatch.setattr("keras_crosscoop.data.prepare._open_split", interrupt)
    done = crosscoop("data", "prepare", "folder", "--data-dir", halves, "--records", "records")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "crosscoop-tf: interrupted."
    assert not (tmp_path / "records").exists()


@pytest.mark.slow
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
