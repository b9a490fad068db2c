"""Builds the networks that `.keras` files describe. The files may come from untrusted sources.

Keras's safe mode does not run code from a file, but it builds objects of any Keras class, of any size. This module only
builds this package's networks and their registered subclasses, and only if they are no larger than the weights in the
file. It ignores the optimizer.
"""

import json
from pathlib import Path
from typing import Any

import keras

from keras_crosscoop.errors import InputError, describe
from keras_crosscoop.models.segmenter import Segmenter
from keras_crosscoop.models.weights.hdf5 import CONFIG, WEIGHTS, open_keras_file

_MAX_DESCRIPTION = 2**20  # bytes; the paper's pair takes 2,000
_MOBILENET = 1e6  # a lower bound on its number of weights


def build_from_archive(path: Path) -> Segmenter:
    """Builds the network of a `.keras` file, with random weights.

    Raises:
        InputError: It is not a `.keras` file, holds a model of another package, or describes an impossible network.
    """
    try:
        with open_keras_file(path) as archive:
            if archive.getinfo(CONFIG).file_size > _MAX_DESCRIPTION:
                raise InputError("its description is too long")
            description = json.loads(archive.read(CONFIG))
            weights_size = archive.getinfo(WEIGHTS).file_size
        name, arguments = description["registered_name"] or description["class_name"], description["config"]
        network = keras.saving.get_registered_object(name)
        if network is None or not issubclass(network, Segmenter):
            raise InputError(f"it holds a model of another package, {name}")
        if not _least_bytes(arguments) <= weights_size:  # also refuses NaN
            raise InputError("it describes a network that is larger than its weights")
        return network.from_config({**arguments, "weights": None})
    except Exception as error:  # of many types, because descriptions may hold anything
        raise InputError(
            f"The file holds no network of this package that can be built ({describe(error)}). Received: {path}"
        ) from error


def _least_bytes(arguments: dict[str, Any]) -> float:
    """Returns a lower bound on the size of a network's weights, from the arguments without an upper limit."""
    if arguments["input_shape"][2] != 3:
        raise InputError("images must be RGB")
    weights = [9 * arguments["decoder_channels"] * arguments["decoder_channels"]]  # a 3x3 layer
    for backbone in filter(lambda value: isinstance(value, dict), arguments.values()):
        if backbone.keys() & {"alpha", "depth_multiplier"}:
            weights.append(_MOBILENET * backbone.get("alpha", 1) ** 2 * backbone.get("depth_multiplier", 1))
    return 2 * max(weights)  # of float16
