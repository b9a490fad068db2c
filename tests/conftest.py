"""Data that several tests share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from helpers import write_folder

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # as the command line, whose tests read what is printed


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the checkout; tests that ask for it are skipped elsewhere."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "data" / "CamVid").is_dir():
        pytest.skip(f"no real data in {folder}")
    return folder


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small data set with `helpers.write_folder`."""

    def make(counts: Mapping[str, int] | None = None, size: tuple[int, int] = (24, 32)) -> Path:
        return write_folder(tmp_path / "mine", counts or {"train": 4, "val": 2}, size)

    return make


@pytest.fixture
def pair() -> Callable[..., Any]:
    """Builds the tiny pair, of three classes and any other `arguments`, with the same random weights each time."""
    import keras

    from keras_crosscoop import CrossCoop

    def build(**arguments: Any) -> Any:
        keras.utils.set_random_seed(0)
        tiny = {
            "num_classes": 3,
            "top": "tiny_xception",
            "bottom": "tiny_resnet",
            "decoder_channels": 8,
            "weights": None,
        }
        return CrossCoop(**{**tiny, **arguments})

    return build
