"""Records of a small data set, written once and copied for each test."""

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A data set of five and three images, each of another size, and its records."""
    folder = tmp_path_factory.mktemp("prepared")
    rng = np.random.default_rng(1)
    for split, count in {"train": 5, "val": 3}.items():
        for kind in ("images", "masks"):
            (folder / "mine" / kind / split).mkdir(parents=True)
        for index in range(count):
            size = (20 + 3 * index, 31 + index)
            image, ids = (
                rng.integers(0, 256, (*size, 3), np.uint8),
                rng.choice(np.array([0, 1, 2, 255], np.uint8), size),
            )
            Image.fromarray(image).save(folder / f"mine/images/{split}/{index:03}.png")
            Image.fromarray(ids).save(folder / f"mine/masks/{split}/{index:03}.png")
    (folder / "mine/classes.txt").write_text("road\nsky\ncar\n")
    prepare.write(prepare.plan("folder", folder / "mine", folder / "records"))
    return folder


@pytest.fixture
def root(prepared, tmp_path):
    return shutil.copytree(prepared / "mine", tmp_path / "mine")


@pytest.fixture
def records(tmp_path):
    return tmp_path / "deep" / "records"


@pytest.fixture
def written(prepared, root, records):
    return shutil.copytree(prepared / "records", records) / "folder/1.0.0"
