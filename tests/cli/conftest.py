"""Runs for tests of commands: a stub, and one that the command line trained."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from crosscoop_tf.main import main
from helpers import TINY_FIT
from networks import brightness_network
from PIL import Image

from keras_crosscoop import config, dataset
from keras_crosscoop.runs import Run


@pytest.fixture(scope="session", autouse=True)
def devices_listed() -> None:
    """Looks for devices once: native code may print about it the first time, whichever test that is."""
    tf.config.list_logical_devices()


@pytest.fixture(scope="session")
def halves(made_once: Callable[..., Path]) -> Path:
    """A data set that a network learns at once: bright left or right halves are class "bright", the rest is "dark"."""

    def make(root: Path) -> None:
        rng = np.random.default_rng(0)
        for split, count in {"train": 8, "val": 3}.items():
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True)
            for number in range(count):
                ids = np.zeros((32, 48), np.uint8)
                ids[:, 24:] = 1
                ids = ids[:, :: (-1) ** number]
                image = np.where(ids[..., None] == 1, 210, 40) + rng.integers(-20, 20, (32, 48, 3))
                Image.fromarray(image.astype(np.uint8)).save(root / "images" / split / f"{number}.png")
                Image.fromarray(ids).save(root / "masks" / split / f"{number}.png")
        (root / "classes.txt").write_text("dark #102030\nbright #f0e0d0\n")

    return made_once("halves", make)


@pytest.fixture
def stub_run(tmp_path: Path, halves: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run on `halves` whose network needs no training and no weights."""
    settings = config.settings({"data": {"name": "folder", "dir": halves}})
    run = Run.create(tmp_path / "stub", settings, dataset("folder", halves))
    monkeypatch.setattr(Run, "load", lambda run: brightness_network())
    return run.folder


LEARNS_AT_ONCE = (
    "--batch-size=4",
    "--set=model.decoder_channels=8",
    "--set=model.dropout=[0,0,0]",
    "--set=train.learning_rate=0.02",
    "--set=data.scale=[1,1]",
)


@pytest.fixture(scope="session")
def make_trained(made_once: Callable[..., Path], halves: Path) -> Callable[..., Path]:
    """Makes the folder of a finished run on `halves`."""

    def make(name: str, *options: str) -> Path:
        def train(folder: Path) -> None:
            with pytest.MonkeyPatch.context() as patch:
                fit = ("fit", *TINY_FIT, *LEARNS_AT_ONCE, f"--data-dir={halves}", f"--output={folder}", *options)
                patch.setattr(sys, "argv", ["crosscoop-tf", *fit])
                main()

        folder = made_once(name, train)
        assert json.loads((folder / "metrics.json").read_text())["outputs"]
        return folder

    return make


@pytest.fixture(scope="session")
def run_folder(make_trained: Callable[..., Path]) -> Path:
    """The folder of a run of micro backbones, which other processes do not know."""
    return make_trained("micro", "--top=micro_3x3", "--bottom=micro_5x5", "--epochs=3")


@pytest.fixture(scope="session")
def tiny_run_folder(make_trained: Callable[..., Path]) -> Path:
    """The folder of a run of the library's smallest backbones; it takes several times as long."""
    return make_trained("tiny", "--epochs=5")
