"""What tests of several modules do alike."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from keras_crosscoop.errors import InputError

TINY_FIT = (  # a pair for `crosscoop-tf fit` that is trained at once
    "--dataset=folder",
    "--top=tiny_resnet",  # of fewer layers than tiny_xception
    "--bottom=tiny_resnet",
    "--weights=none",
    "--crop-size=32",
)


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


def untimed(figures):
    """The figures in a JSON text or file of an evaluation, less how long it took."""
    metrics = json.loads(figures.read_text() if isinstance(figures, Path) else figures)
    assert metrics.pop("seconds_per_image") > 0
    return metrics


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
