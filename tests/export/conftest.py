"""A run whose network predicts several classes, its data set, and one export of it in each format."""

import keras
import numpy as np
import pytest
from export.networks import METADATA, SIZE, decided, micro, photographs
from PIL import Image

from keras_crosscoop import CrossCoop, config, dataset
from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.litert import write_litert
from keras_crosscoop.export.onnx import write_onnx
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.models import backbones
from keras_crosscoop.runs import Run, build

CLASSES = ("road", "sky", "car")
MICRO = {"top": "micro", "bottom": "micro", "decoder_channels": 8, "weights": None}


@pytest.fixture(scope="session", autouse=True)
def _micro_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.OWN, "micro", backbones.OwnBackbone(micro))
        patch.setattr(backbones, "NAMES", (*backbones.NAMES, "micro"))
        yield


@pytest.fixture
def pair():
    """Builds a pair with the same random weights each time."""

    def build(**arguments):
        keras.utils.set_random_seed(0)
        return CrossCoop(**{"num_classes": 3, **MICRO, **arguments})

    return build


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
    """Makes a run in a folder, of the micro pair or of any other `model`; all its classes occur in predictions."""

    def make(folder, **model):
        settings = config.settings({"model": {**MICRO, **model}, "data": {"name": "folder", "dir": str(data_dir)}})
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
    """The SavedModel of the ensemble, for any size."""
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    write_saved_model(deployment_graph(network, "ensemble"), folder)
    return folder


@pytest.fixture(scope="session")
def litert_files(tmp_path_factory, network):
    """A LiteRT file of the ensemble in each quantisation, written when it is first asked for."""
    folder, graph = tmp_path_factory.mktemp("litert"), deployment_graph(network, "ensemble", SIZE)

    class Files(dict):
        def __missing__(self, quantize):
            self[quantize] = folder / f"{quantize}.tflite"
            write_litert(graph, self[quantize], SIZE, quantize, lambda: photographs(8, *SIZE, seed=60), METADATA)
            return self[quantize]

    return Files()


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory, network):
    """The ONNX file of the ensemble, for any size."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(deployment_graph(network, "ensemble"), path, None, METADATA)
    return path
