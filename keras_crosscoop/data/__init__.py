"""Data sets: what they are, where they come from, and how they reach the network."""

from keras_crosscoop.data.catalogue import CATALOGUE, dataset
from keras_crosscoop.data.graph_calls import readable_errors
from keras_crosscoop.data.pipeline import OnError, Parts, indices, load_dataset
from keras_crosscoop.data.skipping import Skipped
from keras_crosscoop.data.spec import Dataset
from keras_crosscoop.labels import IGNORE_LABEL

__all__ = [
    "CATALOGUE",
    "IGNORE_LABEL",
    "Dataset",
    "OnError",
    "Parts",
    "Skipped",
    "dataset",
    "indices",
    "load_dataset",
    "readable_errors",
]
