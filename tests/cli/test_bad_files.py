"""Training on data of which a file is bad, or whose classes count differently."""

import csv
import shutil

import numpy as np
import pytest
from helpers import TINY_FIT
from PIL import Image

MICRO = ("--top=micro_3x3", "--bottom=none")
OPTIONS = [*TINY_FIT, *MICRO, "--batch-size=40", "--epochs=2", "--set=model.decoder_channels=8", "--output=run"]


@pytest.fixture
def root(make_folder):
    """200 pairs, so that two bad files are 1 %."""
    return make_folder({"train": 200, "val": 1}, size=(8, 8))


def spoil(root, *numbers):
    for number in numbers:
        path = root / f"images/train/{number:03}.png"
        path.write_bytes(path.read_bytes()[:-60])
    return [str(root / f"images/train/{number:03}.png") for number in numbers]


@pytest.mark.usefixtures("builds_micro_networks")
def test_by_default_a_bad_file_ends_the_run(crosscoop, root, tmp_path):
    [bad] = spoil(root, 57)
    done = crosscoop("fit", *OPTIONS, "--data-dir", root)
    assert done.code == 2
    lines = done.err.splitlines()
    assert lines[-1].startswith("crosscoop-tf: The image cannot be read (")
    assert lines[-1].endswith(f"Replace or remove it. Received: {bad}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_bad_files_are_skipped_counted_and_listed(crosscoop, root, tmp_path):
    bad = spoil(root, 57, 58)
    done = crosscoop("fit", *OPTIONS, "--data-dir", root, "--set=data.on_error=skip")
    assert done.code == 0
    assert "files skipped so far: 2 (see skipped.txt)" in done.err
    with (tmp_path / "run/history.csv").open(newline="") as file:
        assert [row["skipped_files"] for row in csv.DictReader(file)][-1] == "2"
    listed = (tmp_path / "run/skipped.txt").read_text().splitlines()
    assert sorted(line.rpartition("Received: ")[2] for line in listed) == bad


@pytest.mark.slow
def test_more_than_one_in_a_hundred_is_too_much(crosscoop, root):
    spoil(root, 3, 57, 58)
    done = crosscoop("fit", *OPTIONS, "--data-dir", root, "--set=data.on_error=skip")
    assert done.code == 2
    assert "3 of 200 images cannot be used, more than the 1% that may be skipped." in done.err.splitlines()[-1]


@pytest.mark.slow
def test_class_weights(crosscoop, root, tmp_path):
    """Where one class alone counts, the loss is that of its pixels: a network that gives only it has none."""
    for path in (root / "masks/train").iterdir():
        Image.fromarray(np.full((8, 8), 2, np.uint8)).save(path)
    arguments = ["fit", *OPTIONS, "--data-dir", root]
    assert crosscoop(*arguments, "--set=loss.class_weights={car: 0}", "--set=data.check=off").code == 0
    with (tmp_path / "run/history.csv").open(newline="") as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [0, 0]
    shutil.rmtree(tmp_path / "run")
    done = crosscoop(*arguments, "--set=loss.class_weights={cart: 2}")
    assert done.code == 2
    assert "no class for setting loss.class_weights of that name. Did you mean \"car\"? Received: 'cart'" in done.err
    assert not (tmp_path / "run").exists()
