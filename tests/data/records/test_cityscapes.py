"""Cityscapes in records, ours and those that TFDS itself prepares."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from data.recorded import assert_same_samples, stream, tfds_on_protobuf_6
from helpers import refused
from PIL import Image

from keras_crosscoop.data import dataset, prepare
from keras_crosscoop.data.prepare import plan
from keras_crosscoop.data.records.reader import find_records


@pytest.fixture
def cityscapes(tmp_path):
    """One or two images in each split, with all 34 ids and void; the labels of the test split are dummies."""
    folder = tmp_path / "cityscapes"
    rng = np.random.default_rng(2)
    ids = np.concatenate([np.arange(34), [255, 255]]).astype(np.uint8).reshape(4, 9)
    for split, city, count in (("train", "aachen", 2), ("val", "munster", 1), ("test", "berlin", 1)):
        for kind in ("leftImg8bit", "gtFine"):
            (folder / kind / split / city).mkdir(parents=True)
        for number in range(count):
            name = f"{city}_{number:06}_000019"
            image = Image.fromarray(rng.integers(0, 256, (4, 9, 3), np.uint8))
            image.save(folder / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png")
            Image.fromarray(rng.permutation(ids)).save(folder / f"gtFine/{split}/{city}/{name}_gtFine_labelIds.png")
    return folder


@tfds_on_protobuf_6
def test_cityscapes_keeps_its_classes_and_what_has_no_labels(cityscapes, records):
    folder = prepare.write(plan("cityscapes", cityscapes, records))
    recorded = assert_same_samples("cityscapes", cityscapes, records, ("train", "val", "test"))
    assert recorded.splits == ("train", "val", "test")
    assert recorded.unlabelled == ("test",)
    assert len(recorded.classes) == 19
    (pair,) = recorded.pairs("test")
    assert pair[1] is None
    assert "kept by its makers" in refused(recorded.check_labelled, "test")
    ids = recorded.read(*recorded.pairs("train")[1])[1]
    assert sorted(set(ids.flat)) == [*range(19), 255]

    import tensorflow_datasets as tfds

    (sample,) = tfds.as_numpy(tfds.builder_from_directory(folder).as_dataset(split="test"))
    np.testing.assert_array_equal(sample["label"], np.full((4, 9), 255))
    assert "Splits without labels: test." in json.loads((folder / "dataset_info.json").read_text())["description"]


@pytest.fixture
def tfds_cityscapes(cityscapes, tmp_path, monkeypatch):
    """Records of TFDS's own builder, with smaller images."""
    if importlib.util.find_spec("importlib_resources") is None:  # TFDS needs it, and does not install it
        monkeypatch.setitem(sys.modules, "importlib_resources", importlib.import_module("importlib.resources"))
        importlib.import_module("importlib.resources.abc" if sys.version_info >= (3, 11) else "importlib.abc")
    import tensorflow_datasets as tfds

    manual = tmp_path / "manual"
    for kind in ("leftImg8bit", "gtFine"):
        shutil.make_archive(manual / f"{kind}_trainvaltest", "zip", cityscapes, kind)
    monkeypatch.setattr(tfds.features.Image, "encode_example", lambda self, path: Path(path).read_bytes())
    builder = tfds.builder("cityscapes/semantic_segmentation", data_dir=tmp_path / "tfds")
    config = tfds.download.DownloadConfig(manual_dir=manual, try_download_gcs=False)
    builder.download_and_prepare(download_config=config)
    return tmp_path / "tfds"


def test_cityscapes_as_tfds_itself_prepares_it(cityscapes, tfds_cityscapes):
    files, recorded = dataset("cityscapes", cityscapes), dataset("cityscapes", tfds_cityscapes)
    assert (recorded.splits, recorded.unlabelled, recorded.classes) == (
        ("train", "val", "test"),
        ("test",),
        files.classes,
    )
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        expected = {image.name: files.read(image, label) for image, label in files.pairs(split)}
        pairs = recorded.pairs(split)
        assert len(pairs) == count
        for image, label in pairs:  # in TFDS's order
            wanted = expected.pop(f"{image.name}_leftImg8bit.png")
            for actual, array in zip(recorded.read(image, label), wanted, strict=True):
                np.testing.assert_array_equal(actual, array)
        assert not expected
    assert stream("cityscapes", "val", data_dir=tfds_cityscapes) == stream("cityscapes", "val", data_dir=cityscapes)
    version = tfds_cityscapes / "cityscapes/semantic_segmentation/1.0.0"
    for folder in (tfds_cityscapes, tfds_cityscapes / "cityscapes", version.parent, version):
        assert find_records("cityscapes", folder) == version
