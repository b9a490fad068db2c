"""Data that several tests share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    """Writes a small data set of the `folder` kind: classes road, sky and car, a void border, noise for images."""

    def make(counts: Mapping[str, int] | None = None, size: tuple[int, int] = (24, 32)) -> Path:
        root = tmp_path / "mine"
        root.mkdir()
        (root / "classes.txt").write_text("road\nsky\ncar\n")
        rng = np.random.default_rng(0)
        for split, count in (counts or {"train": 4, "val": 2}).items():
            for kind in ("images", "masks"):
                (root / kind / split).mkdir(parents=True)
            for index in range(count):
                ids = rng.integers(0, 3, size, np.uint8)
                ids[0] = 255
                Image.fromarray(ids).save(root / "masks" / split / f"{index:03}.png")
                noise = rng.integers(0, 256, (*size, 3), np.uint8)
                Image.fromarray(noise).save(root / "images" / split / f"{index:03}.png")
        return root

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
