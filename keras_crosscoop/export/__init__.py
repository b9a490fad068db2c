"""Deployment: a trained network as SavedModel, LiteRT or ONNX, each proven equal to the live model."""

from keras_crosscoop.export.exporting import export
from keras_crosscoop.export.parity import DisagreementError
from keras_crosscoop.export.running import Exported, opened

__all__ = ["DisagreementError", "Exported", "export", "opened"]
