"""The images of a run: they are read as they were when it began."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from data.own.pictures import CLASSES, COLOURS, nearest_picture, without_void, write
from data.own.pictures import colours as encoded
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
        ("sky, road, car", {"class_dict.csv": "name,r,g,b\nsky,0,0,9\nroad,9,9,9\ncar,9,0,0\n"}),
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


def exchanged(folder, colours, heading, row):
    """Opens, with a run on a folder, another folder in which road and car have exchanged their colours."""
    for name, order in (("here", (0, 1, 2, 3)), ("there", (0, 2, 1, 3))):
        entries = [colours[place] for place in order]
        write(folder / name, "images/{split}/{name}.png", "masks/{split}/{name}.png", encode=encoded(entries))
        rows = [row(*item) for item in zip(CLASSES, entries, strict=True)]
        (folder / name / "classes.csv").write_text("\n".join([heading, *rows]))
    settings = config.settings({"data": {"name": "folder", "dir": folder / "here"}})
    run = Run.create(folder / "run", settings, keras_crosscoop.dataset("folder", folder / "here"))
    return run.open_dataset(data_dir=folder / "there")


def test_a_folder_of_other_colours_is_not_read_as_the_runs(tmp_path):
    data = exchanged(tmp_path, COLOURS, "name,r,g,b", lambda name, colour: ",".join(map(str, (name, *colour))))
    image, ids = data.read(*data.pairs("val")[0])
    np.testing.assert_array_equal(ids, without_void(nearest_picture(image)))


def test_a_folder_of_other_grey_colours_is_not_read_as_the_runs(tmp_path):
    """The table gives them as integers."""
    greys = [(value,) * 3 for value in range(4)]
    message = refused(exchanged, tmp_path, greys, "id,name", lambda name, grey: f"{grey[0]},{name}")
    assert '(background, road, car, tree), but data set "folder" has 4 (background, car, road, tree)' in message


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
