"""A run whose network sees several classes, its data set, and what is exported of it."""

import keras
import numpy as np
import pytest
from export.networks import decided, photographs
from PIL import Image

from keras_crosscoop import config, dataset
from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.runs import Run, build

CLASSES = ("road", "sky", "car")
SIZE = (40, 56)  # of the images: no multiple of 16, so that padding and cropping count
TINY = {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8, "weights": None}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A data set of the `folder` kind: photographs, and labels that have nothing to do with them."""
    root = tmp_path_factory.mktemp("data")
    (root / "classes.txt").write_text("road #102030\nsky #0000fa\ncar #c80000\n")
    rng = np.random.default_rng(0)
    for split, count in {"train": 6, "val": 3}.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number, image in enumerate(photographs(count, *SIZE, seed=len(split))):
            ids = rng.integers(0, 3, SIZE, np.uint8)
            ids[0] = 255
            Image.fromarray(image).save(root / "images" / split / f"{number}.png")
            Image.fromarray(ids).save(root / "masks" / split / f"{number}.png")
    return root


@pytest.fixture(scope="session")
def make_run(data_dir):
    """Makes a run in a folder, of the tiny pair or of any other `model`; all its classes occur in predictions."""

    def make(folder, **model):
        settings = config.settings({"model": {**TINY, **model}, "data": {"name": "folder", "dir": str(data_dir)}})
        run = Run.create(folder, settings, dataset("folder", data_dir))
        keras.utils.set_random_seed(0)
        run.save_weights(decided(build(settings.model, len(CLASSES))))
        return run

    return make


@pytest.fixture(scope="session")
def trained(tmp_path_factory, make_run):
    """Such a run, which tests leave as it is."""
    return make_run(tmp_path_factory.mktemp("runs") / "a street-1")


@pytest.fixture(scope="session")
def network(trained):
    """Its model, live."""
    return trained.load()


@pytest.fixture(scope="session")
def images():
    """Two images that no data set holds."""
    return photographs(2, *SIZE, seed=50)


@pytest.fixture(scope="session")
def saved_model(tmp_path_factory, network):
    """The folder of its SavedModel, of the ensemble, for images as they are."""
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    write_saved_model(deployed(network, "ensemble"), folder)
    return folder
