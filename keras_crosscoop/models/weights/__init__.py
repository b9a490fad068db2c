"""Weights from files: HDF5 as Keras writes it, TensorFlow checkpoints as DeepLab was released in, and downloads."""

import os
from typing import Literal

from keras_crosscoop.models.weights.checkpoint import NoRoomError, opened_checkpoint
from keras_crosscoop.models.weights.download import fetched
from keras_crosscoop.models.weights.hdf5 import load_hdf5, opened_hdf5
from keras_crosscoop.models.weights.transfer import TransferReport, transfer

WeightsSource = Literal["imagenet"] | str | os.PathLike | None  # what networks and backbones take as `weights`

__all__ = [
    "NoRoomError",
    "TransferReport",
    "WeightsSource",
    "fetched",
    "load_hdf5",
    "opened_checkpoint",
    "opened_hdf5",
    "transfer",
]
