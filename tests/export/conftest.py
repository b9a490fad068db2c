"""Networks that predict several classes, a run and its data set, and one export in each format."""

import functools

import keras
import numpy as np
import pytest
from export.networks import METADATA, SIZE, LiteRTFiles, decided, micro, photographs, small_pair
from PIL import Image

from keras_crosscoop import CrossCoop, config, dataset
from keras_crosscoop.export.deployment import deployment_graph
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


def decided_network(settings):
    keras.utils.set_random_seed(0)
    return decided(build(settings.model, len(CLASSES)))


@pytest.fixture(scope="session")
def make_run(data_dir):
    """Makes a run in a folder, of the micro pair or of any other `model`; all its classes occur in predictions."""

    def make(folder, build=decided_network, **model):
        settings = config.settings({"model": {**MICRO, **model}, "data": {"name": "folder", "dir": str(data_dir)}})
        run = Run.create(folder, settings, dataset("folder", data_dir))
        run.save_weights(build(settings))
        return run

    return make


@pytest.fixture(scope="session")
def network():
    """A whole network. Its decoders are not connected."""
    keras.utils.set_random_seed(0)
    return decided(CrossCoop(3, **MICRO, sites=("aspp_output",)))


@pytest.fixture(scope="session")
def small_network():
    """A pair for tests that are not about networks."""
    return decided(small_pair())


@pytest.fixture(scope="session")
def trained(tmp_path_factory, make_run, network):
    """A run with the weights of `network`, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("runs") / "a street-1"
    return make_run(folder, lambda settings: network, sites=["aspp_output"])


@pytest.fixture(scope="session")
def images():
    """Two images that no data set holds."""
    return photographs(2, *SIZE, seed=50)


@pytest.fixture(scope="session")
def graph_of(network):
    """Returns the deployment graph of an output of `network`."""
    return functools.cache(functools.partial(deployment_graph, network))


@pytest.fixture(scope="session")
def saved_model(made_once, graph_of):
    """The SavedModel of the ensemble, for any size."""
    return made_once("saved_model", lambda folder: write_saved_model(graph_of("ensemble"), folder))


@pytest.fixture(scope="session")
def litert_files(made_once, graph_of):
    """The LiteRT files of the ensemble."""
    return LiteRTFiles(made_once, "model", lambda: graph_of("ensemble", SIZE))


@pytest.fixture(scope="session")
def onnx_file(made_once, graph_of):
    """The ONNX file of the ensemble, for any size."""
    return made_once("model.onnx", lambda path: write_onnx(graph_of("ensemble"), path, None, METADATA))
