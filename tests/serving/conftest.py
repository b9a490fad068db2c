"""A run, its exported model behind a server of either protocol, and the command that predicts."""

import os
import shutil
import sys

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # like `predict`, before gRPC is imported

import keras
import numpy as np
import pytest
from crosscoop_tf.main import main
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
TINY = {"top": "tiny_resnet", "bottom": None, "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of a network with random weights that predicts every class."""
    dataset = Dataset("drawn", CLASSES, PALETTE, ("train",), lambda split: [])
    run = Run.create(tmp_path_factory.mktemp("runs") / "a street-1", config.settings({"model": TINY}), dataset)
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
def exported(network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "1"
    write_saved_model(deployment_graph(network, "single"), folder)
    return folder


@pytest.fixture(scope="session")
def folder_without_weights(run, tmp_path_factory):
    assert list(run.folder.glob("*.h5"))
    folder = tmp_path_factory.mktemp("other_runs") / run.folder.name
    return shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("*.h5"))


@pytest.fixture(scope="session")
def loaded_model(exported, run):
    return ServedModel(exported, run.folder.name)


@pytest.fixture
def model(loaded_model):
    """The model on the server, without faults."""
    loaded_model.faults.clear()
    loaded_model.predictions.clear()
    loaded_model.requests = 0
    return loaded_model


@pytest.fixture(params=[serve_rest, serve_grpc], ids=["rest", "grpc"])
def serve(request):
    return request.param


@pytest.fixture
def url(serve, model):
    """The address of the server, over REST and over gRPC."""
    with serve(model) as url:
        yield url


@pytest.fixture
def rest(model):
    with serve_rest(model) as url:
        yield url


@pytest.fixture
def grpc(model):
    with serve_grpc(model) as url:
        yield url


@pytest.fixture
def quick_retries(monkeypatch):
    """Retries without pauses."""
    (name, service_config), *options = server._CHANNEL_OPTIONS
    quick = service_config.replace("0.25s", "0.01s").replace('"1s"', '"0.01s"')
    assert quick.count("0.01s") == 2
    options += [(name, quick), ("grpc.initial_reconnect_backoff_ms", 100)]
    monkeypatch.setattr(server, "_CHANNEL_OPTIONS", options)
    monkeypatch.setattr(server, "_RETRIES", server._RETRIES.new(backoff_factor=0))


@pytest.fixture
def predict(monkeypatch, capfd, tmp_path):
    """Runs `crosscoop-tf predict` in an empty folder; returns its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["crosscoop-tf", "predict", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        return code, *capfd.readouterr()

    return call


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Images of two sizes and two formats, in two folders."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    sizes = {"a.png": (40, 48), "b.jpg": (40, 48), "x/a.png": (33, 41), "x/c.png": (40, 48)}
    for seed, (name, size) in enumerate(sizes.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(*size, seed=seed)[0].astype(np.uint8)).save(path)
    return folder
