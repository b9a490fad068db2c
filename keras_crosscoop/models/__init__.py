"""The networks: backbones, the DeepLabV3+ head, the connections between two, and the models made of them."""

from keras_crosscoop.models.crosscoop import CrossCoop, DeepLabV3Plus
from keras_crosscoop.models.segmenter import Segmenter

__all__ = ["CrossCoop", "DeepLabV3Plus", "Segmenter"]
