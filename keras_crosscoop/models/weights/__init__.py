"""Weights from files: Keras's HDF5 files, TensorFlow checkpoints such as DeepLab's, and downloads."""

import os
from typing import Literal

from keras_crosscoop.models.weights.checkpoint import NoRoomError, open_checkpoint
from keras_crosscoop.models.weights.download import fetch
from keras_crosscoop.models.weights.hdf5 import load_hdf5, open_hdf5
from keras_crosscoop.models.weights.transfer import TransferReport, transfer

WeightsSource = Literal["imagenet"] | str | os.PathLike | None  # the argument `weights` of networks and backbones

__all__ = [
    "NoRoomError",
    "TransferReport",
    "WeightsSource",
    "fetch",
    "load_hdf5",
    "open_checkpoint",
    "open_hdf5",
    "transfer",
]
