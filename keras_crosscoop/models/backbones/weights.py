"""Weights of backbones, from files."""

import os
import warnings
from pathlib import Path
from typing import Literal

import keras

from keras_crosscoop.errors import InputError

Weights = Literal["imagenet"] | str | os.PathLike | None


def load_weights(model: keras.Model, path: str | os.PathLike) -> None:
    """Loads a file that `keras.Model.save_weights` wrote of the same network.

    Raises:
        InputError: there is no such file, or it holds the weights of another network.
    """
    if not Path(path).is_file():
        raise InputError(f'There is no such file of weights. Give a ".weights.h5" file. Received: {path}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of every single layer that does not fit; the error says it once
            model.load_weights(path)
    except (ValueError, OSError, KeyError, RuntimeError) as error:  # HDF5 raises the last of damaged files
        raise InputError(
            f'The weights do not fit "{model.name}": give a file that `save_weights` wrote of the same network, with '
            f"the same options. Received: {path} ({' '.join(str(error).split())[:200]})"
        ) from error
