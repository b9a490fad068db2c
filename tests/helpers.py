"""What tests of several modules do alike."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from keras_crosscoop.data import Dataset
from keras_crosscoop.errors import InputError
from keras_crosscoop.images.decoding import RawFile

TINY_FIT = (  # a pair for `crosscoop-tf fit` that is trained at once
    "--dataset=folder",
    "--top=tiny_resnet",  # of fewer layers than tiny_xception
    "--bottom=tiny_resnet",
    "--weights=none",
    "--crop-size=32",
)


def runs_eagerly(test):
    """Marks a test in which TensorFlow traces no functions: that takes longer than a few steps of a micro network."""
    ignored = pytest.mark.filterwarnings("ignore:Even though the `tf.config.experimental_run_functions_eagerly` option")
    return ignored(pytest.mark.usefixtures("functions_run_eagerly")(test))


def refused(call, *arguments, **options):
    """The message of the `InputError` that the call raises, in one line."""
    with pytest.raises(InputError, match=r"Received: ") as error:
        call(*arguments, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def assert_equal(actual, expected):
    """The same arrays under the same names."""
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name)


def untimed(metrics):
    """The metrics in a JSON text or file of an evaluation, without the time that it took."""
    content = json.loads(metrics.read_text() if isinstance(metrics, Path) else metrics)
    assert content.pop("seconds_per_image") > 0
    return content


def settle(root, classes=("road", "sky", "car"), **entries):
    """Writes a complete `dataset.yaml` into the folder of a data set of `write_folder`, and returns the folder."""
    described = {
        "images": "images/{split}/{name}",
        "masks": "masks/{split}/{name}",
        "train": "train",
        "val": "val",
        "names": list(classes),
        "values": dict(enumerate(classes)),
        "ignore": [255],
        "nearest": False,
    }
    (root / "dataset.yaml").write_text(yaml.safe_dump(described | entries))
    return root


def write_folder(root, counts, size=(24, 32)):
    """Writes a data set of the `folder` kind: classes road, sky and car, a void border, noise for images."""
    root.mkdir()
    (root / "classes.txt").write_text("road\nsky\ncar\n")
    rng = np.random.default_rng(0)
    for split, count in counts.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for index in range(count):
            ids = rng.integers(0, 3, size, np.uint8)
            ids[0] = 255
            Image.fromarray(ids).save(root / "masks" / split / f"{index:03}.png")
            noise = rng.integers(0, 256, (*size, 3), np.uint8)
            Image.fromarray(noise).save(root / "images" / split / f"{index:03}.png")
    return root


def photograph(*size, seed=0):
    """Something with structure at every scale, RGB in [0, 255]."""
    rng = np.random.default_rng(seed)
    image = np.zeros((1, *size, 3))
    for step in (1, 4, 16, 64):
        coarse = rng.normal(size=(1, -(-size[0] // step), -(-size[1] // step), 3))
        image += coarse.repeat(step, 1).repeat(step, 2)[:, : size[0], : size[1]]
    return np.clip(127 + 50 * image, 0, 255).astype("float32")


def free_ports(count):
    """Ports on loopback that nothing listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for opened in sockets:
        opened.bind(("127.0.0.1", 0))
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


class InMemory(RawFile):
    """A file in memory."""

    name = "image.ppm"

    def __init__(self, array):
        self.array = array

    def pixels(self):
        return self.array


def in_memory(pairs, classes=255, **options):
    """A data set of images and labels in memory."""
    files = [(InMemory(image), InMemory(label)) for image, label in pairs]
    names, palette = tuple(f"class {number}" for number in range(classes)), ((0, 0, 0),) * classes
    return Dataset("x", names, palette, ("train",), lambda _: files, check_headers=False, **options)
