"""Export of a trained network as SavedModel, LiteRT or ONNX, each compared with the live model before it is kept."""

from keras_crosscoop.export.parity import DisagreementError
from keras_crosscoop.export.run_export import export
from keras_crosscoop.export.runtimes import Exported, load_exported

__all__ = ["DisagreementError", "Exported", "export", "load_exported"]
