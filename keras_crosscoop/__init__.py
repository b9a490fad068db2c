"""Cross cooperative learning for semantic segmentation: two different networks that read each other's features."""

from keras_crosscoop import evaluation, training
from keras_crosscoop.data import dataset, load_dataset
from keras_crosscoop.models import CrossCoop, DeepLabV3Plus, backbones
from keras_crosscoop.runs import load

__version__ = "0.1.0"

__all__ = [
    "CrossCoop",
    "DeepLabV3Plus",
    "__version__",
    "backbones",
    "dataset",
    "evaluation",
    "load",
    "load_dataset",
    "training",
]
