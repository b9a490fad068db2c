"""Data that several tests share."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import write_folder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported, as the command line does

import keras
import tensorflow as tf
from crosscoop_tf.main import main
from micro import micro_pair  # registers the micro backbones, too

from keras_crosscoop import CrossCoop, runs
from keras_crosscoop.system.locks import lock
from keras_crosscoop.training import builders


class Result(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the checkout; tests that ask for it are skipped elsewhere."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "CamVid").is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """Makes a file or folder that all test processes share: the first one that asks for it makes it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def make_once(name: str, make: Callable[[Path], None]) -> Path:
        with (root / f"{name}.lock").open("w") as file:
            lock(file.fileno(), wait=True)
            if not (root / name).exists():
                make(root / name)
        return root / name

    return make_once


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small data set with `helpers.write_folder`."""

    def make(counts: Mapping[str, int] | None = None, size: tuple[int, int] = (24, 32)) -> Path:
        return write_folder(tmp_path / "mine", counts or {"train": 4, "val": 2}, size)

    return make


@pytest.fixture
def functions_run_eagerly() -> Iterator[None]:
    """Makes TensorFlow run functions without tracing them; see `helpers.runs_eagerly`."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def builds_micro_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `fit`, `resume` and `Run.load` build micro networks, whatever network the settings describe."""

    def build(model: Any, num_classes: int, **options: Any) -> Any:
        return micro_pair(classes=num_classes, sides=("top", "bottom") if model.bottom else ("single",))

    for module in (builders, runs):
        monkeypatch.setattr(module, "build", build)


@pytest.fixture(scope="session")
def pair() -> Callable[..., Any]:
    """Builds a pair of micro backbones and three classes, or of other `arguments`, with the same weights each time."""

    def build(**arguments: Any) -> Any:
        keras.utils.set_random_seed(0)
        defaults = {"top": "micro_3x3", "bottom": "micro_5x5", "decoder_channels": 8, "weights": None}
        return CrossCoop(**{"num_classes": 3, **defaults, **arguments})

    return build


@pytest.fixture
def crosscoop(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: Path) -> Callable[..., Result]:
    """Runs `crosscoop-tf` with these arguments, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["crosscoop-tf", *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            main()
        except SystemExit as error:
            code = error.code or 0
        return Result(code, *capfd.readouterr())

    return run
