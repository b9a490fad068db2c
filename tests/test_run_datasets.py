"""The images of a run: they are read as they were when it began."""

import shutil
from dataclasses import replace

import pytest
from helpers import refused, settle, write_folder

import keras_crosscoop
from keras_crosscoop import config
from keras_crosscoop.images.reading import ImageReading
from keras_crosscoop.runs import Run
from keras_crosscoop.training.builders import check_data


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (None, {"classes.txt": ""}),
        (None, {"classes.txt": "road\nsky\ncar\n"}),
        (None, {"classes.csv": "name,id\ncar,2\nroad,0\nsky,1\n"}),
        ("road, sea, car", {"classes.txt": "road\nsea\ncar\n"}),
        ("sky, road, car", {"classes.txt": "sky\nroad\ncar\n"}),
        ("sky, road, car", {"classes.csv": "name,id\ncar,2\nroad,1\nsky,0\n"}),
        ("road, sky", {"dataset.yaml": "names: [road, sky]\nignore: [2, 255]\n"}),
        ("tree, sky, car", {"dataset.yaml": "values: {0: tree, 1: sky, 2: car}\n"}),
    ],
)
def test_a_folder_of_other_classes_is_not_read_as_the_runs(tmp_path, names, texts):
    """Not even if its masks hold the same values. A folder that names no classes has those of the run."""
    here = write_folder(tmp_path / "here", {"train": 2, "val": 1})
    settings = config.settings({"data": {"name": "folder", "dir": here}})
    run = Run.create(tmp_path / "run", settings, keras_crosscoop.dataset("folder", here))
    there = here.rename(tmp_path / "there")
    (there / "classes.txt").unlink()
    for name, text in texts.items():
        if text:
            (there / name).write_text(text)
    if names is None:
        assert run.open_dataset(data_dir=there).classes == ("road", "sky", "car")
    else:
        message = refused(run.open_dataset, data_dir=there)
        assert f'(road, sky, car), but data set "folder" has {names.count(",") + 1} ({names}).' in message


def test_a_run_of_records_reads_files_as_the_records_were_read(tmp_path, monkeypatch):
    root = write_folder(tmp_path / "data", {"train": 1, "val": 1})
    reading = ImageReading(range=(0, 4095), channels=(3, 2, 1))
    data = replace(keras_crosscoop.dataset("folder", root), reading=reading, description=None)
    settings = config.settings({"data": {"name": "folder", "dir": tmp_path}})
    run = Run.open(Run.create(tmp_path / "run", settings, data).folder)
    assert run.reading == reading
    monkeypatch.setattr("keras_crosscoop.data.dataset", lambda name, folder: data)
    assert run.open_dataset() is data


def test_without_the_check_a_run_uses_images_whose_findings_are_problems(tmp_path):
    """`data.check=off` is what the refusal names."""
    root = write_folder(tmp_path / "data", {"train": 3, "val": 2})
    shutil.copy(root / "images/train/001.png", root / "images/train/001.bmp")  # shares the mask
    data = keras_crosscoop.dataset("folder", settle(root, masks="masks/{split}/{name}.png"))
    settings = [config.settings({"data": {"name": "folder", "dir": root, "check": check}}) for check in (True, False)]
    assert refused(check_data, data, settings[0]).endswith("To train all the same: --set data.check=off")
    used, report = check_data(data, settings[1])
    assert report.problems
    run = Run.create(tmp_path / "run", settings[1], used)
    assert len(used.pairs("train")) == len(run.open_dataset().pairs("train")) == 4


def test_a_run_that_is_interrupted_when_it_begins_has_no_classes(tmp_path, monkeypatch):
    """With classes, an ablation would resume it, and read its images without its description."""
    root = write_folder(tmp_path / "data", {"train": 2, "val": 1})
    settings = config.settings({"data": {"name": "folder", "dir": root}})

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_crosscoop.data.own.discovery.store", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Run.create(tmp_path / "run", settings, keras_crosscoop.dataset("folder", root))
    assert not (tmp_path / "run/classes.json").exists()


def test_a_moved_run_finds_its_lists(tmp_path):
    here = write_folder(tmp_path / "here", {"train": 2, "val": 1})
    settings = config.settings({"data": {"name": "folder", "dir": here}})
    data = keras_crosscoop.dataset("folder", here)
    moved = Run.create(tmp_path / "run", settings, data).folder.rename(tmp_path / "moved")
    opened = Run.open(moved).open_dataset()
    assert [opened.pairs(split) for split in ("train", "val")] == [data.pairs(split) for split in ("train", "val")]
