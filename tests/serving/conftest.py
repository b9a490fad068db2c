"""A run, and its exported model behind a server of either protocol."""

import os

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # like `predict`, before gRPC is imported

import keras
import numpy as np
import pytest
from helpers import photograph
from PIL import Image
from serving.model_server import ServedModel, serve_grpc, serve_rest

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation import server
from keras_crosscoop.export.deployment import deployment_graph
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.runs import Run, build

CLASSES, PALETTE = ("road", "sky", "car"), ((10, 20, 30), (0, 0, 250), (200, 0, 0))
MICRO = {"top": "micro_3x3", "bottom": None, "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of a network with random weights that predicts every class."""
    dataset = Dataset("drawn", CLASSES, PALETTE, ("train",), lambda split: [])
    run = Run.create(tmp_path_factory.mktemp("runs") / "a street-1", config.settings({"model": MICRO}), dataset)
    keras.utils.set_random_seed(0)
    model = build(run.settings.model, len(CLASSES))
    kernel = model.get_layer("single_classifier").kernel
    kernel.assign(4 * keras.random.normal(kernel.shape, seed=0))
    run.save_weights(model)
    return run


@pytest.fixture(scope="session")
def network(run):
    return run.load()


@pytest.fixture(scope="session")
def loaded_model(network, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "1"
    write_saved_model(deployment_graph(network, "single"), folder)
    return ServedModel(folder, run.folder.name)


@pytest.fixture
def model(loaded_model):
    """The model on the server, without faults."""
    loaded_model.faults.clear()
    loaded_model.requests.clear()
    return loaded_model


@pytest.fixture
def rest(model):
    with serve_rest(model) as url:
        yield url


@pytest.fixture
def grpc(model):
    with serve_grpc(model) as url:
        yield url


@pytest.fixture(params=["rest", "grpc"])
def url(request):
    """The address of the server, over REST and over gRPC."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def quick_retries(monkeypatch):
    """Retries without pauses."""
    (name, service_config), *options = server._CHANNEL_OPTIONS
    quick = service_config.replace("0.25s", "0.01s").replace('"1s"', '"0.01s"')
    assert quick.count("0.01s") == 2
    options += [(name, quick), ("grpc.initial_reconnect_backoff_ms", 100)]
    monkeypatch.setattr(server, "_CHANNEL_OPTIONS", options)
    monkeypatch.setattr(server, "_RETRIES", server._RETRIES.new(backoff_factor=0))


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Images of two sizes and two formats, in two folders."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    (folder / "x").mkdir(parents=True)
    for name, size in {"a.png": (40, 48), "b.jpg": (40, 48), "x/a.png": (33, 41), "x/c.png": (40, 48)}.items():
        Image.fromarray(photograph(*size)[0].astype(np.uint8)).save(folder / name)
    return folder
