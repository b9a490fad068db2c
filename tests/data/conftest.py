"""Records of a small data set."""

import numpy as np
import pytest
from PIL import Image

from keras_crosscoop.data import prepare
from keras_crosscoop.data.prepare import plan


@pytest.fixture
def root(make_folder):
    """Five and three images, each of another size."""
    root = make_folder({"train": 5, "val": 3})
    rng = np.random.default_rng(1)
    for split, count in {"train": 5, "val": 3}.items():
        for index in range(count):
            size = (20 + 3 * index, 31 + index)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(root / f"images/{split}/{index:03}.png")
            ids = rng.choice(np.array([0, 1, 2, 255], np.uint8), size)
            Image.fromarray(ids).save(root / f"masks/{split}/{index:03}.png")
    return root


@pytest.fixture
def records(tmp_path):
    return tmp_path / "deep" / "records"


@pytest.fixture
def written(root, records):
    return prepare.write(plan("folder", root, records))
