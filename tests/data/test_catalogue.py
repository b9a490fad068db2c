"""Data sets by name, CamVid among them."""

from pathlib import Path

import numpy as np
import pytest
from helpers import refused
from PIL import Image

import keras_crosscoop.data.catalogue as catalogue_module
from keras_crosscoop.data import CATALOGUE, dataset
from keras_crosscoop.errors import InputError


def test_unknown_name_gives_the_nearest():
    with pytest.raises(
        InputError, match=r"There is no data set or folder of that name\. Did you mean \"camvid\"\? Received: 'camvd'"
    ):
        dataset("camvd")


@pytest.mark.parametrize(("name", "part"), [("camvid", "trainannot/"), ("folder", "images and masks")])
def test_data_dir_is_needed(name, part, tmp_path):
    with pytest.raises(
        InputError, match=rf'^Data set "{name}" needs --data-dir, a folder with .*{part}.* Received: no'
    ):
        dataset(name)
    (tmp_path / "file").touch()
    if name != "folder":  # it may be a dataset.yaml
        with pytest.raises(InputError, match=rf"a folder with .*{part}.* Received: .*file, which is a file"):
            dataset(name, tmp_path / "file")


@pytest.mark.parametrize("name", ["camvid", "folder", None])
def test_a_missing_folder(name, tmp_path):
    """The message names the folders beside it, or the one that is meant."""
    for folder in ("photos", "masks", ".hidden"):
        (tmp_path / folder).mkdir()
    for missing, hint in (("data/mine", f"{tmp_path} holds: masks, photos."), ("photo", f'mean "{tmp_path}/photos"?')):
        path = tmp_path / missing
        message = refused(dataset, name, path) if name else refused(dataset, path)
        assert message.startswith("There is no such folder of a data set. ")
        assert message.endswith(f"{hint} Received: {path}")


def test_a_name_is_not_the_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("street_scenes", "camvid", "tfds:voc/2007", "mine"):
        (tmp_path / folder).mkdir(parents=True)
        expected = ("folder", Path("mine")) if folder == "mine" else (folder, None)
        assert catalogue_module.locate(folder) == expected
    assert catalogue_module.locate(Path("camvid")) == ("folder", Path("camvid"))
    with pytest.raises(InputError, match=r'Data set "camvid" needs --data-dir'):
        dataset("camvid")


def test_camvid_layout(tmp_path):
    """PNG or JPEG by stem, twelfth value void; a split's folder may be missing until it is asked for."""
    for split, suffix in (("train", "png"), ("val", "jpg")):
        (tmp_path / split).mkdir()
        (tmp_path / f"{split}annot").mkdir()
        Image.new("RGB", (12, 1), (90, 90, 90)).save(tmp_path / split / f"a.{suffix}")
        Image.fromarray(np.arange(12, dtype=np.uint8)[None]).save(tmp_path / f"{split}annot/a.png")
    data = dataset("camvid", str(tmp_path))
    assert data.splits == ("train", "val", "test")
    for split in ("train", "val"):
        image, label = data.read(*data.pairs(split)[0])
        np.testing.assert_array_equal(label, [[*range(11), 255]])
        np.testing.assert_allclose(image, 90, atol=2)
    with pytest.raises(InputError, match=r"folder of the data set is missing\. .* Received: .*test$"):
        data.pairs("test")


def test_real_camvid(shared):
    data = dataset("camvid", shared / "data" / "CamVid")
    assert [len(data.pairs(split)) for split in ("train", "val")] == [367, 101]
    assert [image.stem for image, _ in data.pairs("val")] == [label.stem for _, label in data.pairs("val")]
    image, label = data.read(*data.pairs("val")[0])
    assert image.shape == (360, 480, 3)
    assert dict(zip(data.classes, data.palette, strict=True))["bicyclist"] == (0, 128, 192)
    # The road lies at the bottom of the picture and the sky at its top.
    assert data.classes[np.bincount(label[-60:].ravel()).argmax()] == "road"
    assert data.classes[np.bincount(label[:60].ravel()).argmax()] in ("sky", "building", "tree")


def test_street_scenes_are_drawn_once_where_keras_keeps_its_data(make_folder, monkeypatch, tmp_path):
    drawn = []

    def write(directory):
        drawn.append(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        make_folder().rename(directory)

    monkeypatch.setattr(catalogue_module.street_scenes, "write", write)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    data = dataset("street_scenes")
    assert data.name == "street_scenes"
    assert len(data.pairs("train")) == 4
    dataset("street_scenes", tmp_path / "here")
    assert drawn == [tmp_path / "home/datasets/keras_crosscoop/street_scenes-2", tmp_path / "here"]


def test_every_data_set_has_an_opener():
    assert set(CATALOGUE) == {"street_scenes", "camvid", "voc2012", "cityscapes", "folder"}
