"""Data sets: catalogue, files, checks, records, and the input pipeline."""

from keras_crosscoop.data.catalogue import CATALOGUE, dataset
from keras_crosscoop.data.coding import Coding
from keras_crosscoop.data.graph_calls import readable_errors
from keras_crosscoop.data.pipeline import OnError, ReplicaRange, indices, load_dataset
from keras_crosscoop.data.skipping import Skipped
from keras_crosscoop.data.spec import Dataset
from keras_crosscoop.labels import IGNORE_LABEL

__all__ = [
    "CATALOGUE",
    "IGNORE_LABEL",
    "Coding",
    "Dataset",
    "OnError",
    "ReplicaRange",
    "Skipped",
    "dataset",
    "indices",
    "load_dataset",
    "readable_errors",
]
