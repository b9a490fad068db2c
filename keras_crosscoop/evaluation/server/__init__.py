"""Predictions by a TensorFlow Serving, over REST or gRPC, in the place of a model that is loaded here."""

from keras_crosscoop.evaluation.server.address import Address, parse_address
from keras_crosscoop.evaluation.server.predictor import ServerPredictor, connected

__all__ = ["Address", "ServerPredictor", "connected", "parse_address"]
