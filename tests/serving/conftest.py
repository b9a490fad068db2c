"""A run, its model behind a server, and the command that predicts by either."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # as the command has it, before anything imports gRPC

import keras
import numpy as np
import pytest
from crosscoop_tf.main import main
from helpers import photograph
from PIL import Image
from serving.model_server import running

from keras_crosscoop import config
from keras_crosscoop.data import Dataset
from keras_crosscoop.evaluation.server import trouble
from keras_crosscoop.export.deployed import deployed
from keras_crosscoop.export.saved_model import write_saved_model
from keras_crosscoop.runs import Run, build

CLASSES, PALETTE = ("road", "sky", "car"), ((10, 20, 30), (0, 0, 250), (200, 0, 0))
TINY = {"top": "tiny_xception", "bottom": "tiny_resnet", "decoder_channels": 8, "weights": None, "dropout": [0, 0, 0]}


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run of a network, of random weights, in whose pictures several classes occur."""
    dataset = Dataset("drawn", CLASSES, PALETTE, ("train",), lambda split: [])
    folder = tmp_path_factory.mktemp("runs") / "a street-1"
    created = Run.create(folder, config.settings({"model": TINY}), dataset)
    keras.utils.set_random_seed(0)
    model = build(created.settings.model, len(CLASSES))
    for seed, layer in enumerate(layer for layer in model.layers if layer.name.endswith("classifier")):
        layer.kernel.assign(4 * keras.random.normal(layer.kernel.shape, seed=seed))
    created.save_weights(model)
    return created


@pytest.fixture(scope="session")
def exported(run):
    """The folder of the run's exported versions."""
    write_saved_model(deployed(run.load(), "ensemble"), run.folder / "serving" / "1")
    return run.folder / "serving"


@pytest.fixture(scope="session")
def anywhere(run, exported):
    """A server that runs for all tests."""
    with running(exported, run.folder.name) as server:
        yield server


@pytest.fixture
def server(anywhere):
    """It, healthy."""
    served = anywhere.served
    healthy = dict(served.states)
    served.log.clear()
    served.requests = 0
    yield anywhere
    served.faults.clear()
    served.states = healthy
    served.refuses = lambda signature, inputs: None


@pytest.fixture(params=["rest", "grpc"])
def url(request, server):
    """Its address, of either kind."""
    return getattr(server, request.param)


@pytest.fixture(params=["rest", "grpc", pytest.param("real", marks=pytest.mark.serving)])
def place(request):
    """The address of a server of either kind, or of a real TensorFlow Serving, and the run that it serves."""
    if request.param != "real":
        server = request.getfixturevalue("server")
        return SimpleNamespace(
            url=getattr(server, request.param), folder=request.getfixturevalue("run").folder, served=server.served
        )
    if not {"CROSSCOOP_SERVER", "CROSSCOOP_RUN"} <= os.environ.keys():
        pytest.skip("no CROSSCOOP_SERVER, an address with /v1/models/NAME, that serves the run folder CROSSCOOP_RUN")
    return SimpleNamespace(url=os.environ["CROSSCOOP_SERVER"], folder=Path(os.environ["CROSSCOOP_RUN"]), served=None)


@pytest.fixture
def predict(monkeypatch, capfd, tmp_path):
    """Runs `crosscoop-tf predict`, in an empty folder: its exit code, and what it printed to stdout and stderr."""
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


@pytest.fixture
def photos(tmp_path):
    """Images of two sizes, in folders, of two kinds."""
    for number, (name, size) in enumerate(
        {"a.png": (40, 48), "b.jpg": (40, 48), "x/a.png": (33, 41), "x/c.png": (40, 48)}.items()
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(*size, seed=number)[0].astype(np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.fixture
def impatient(monkeypatch):
    """Pauses that take no time, as they come."""
    pauses = []
    monkeypatch.setattr(trouble, "time", SimpleNamespace(sleep=pauses.append))
    return pauses
