"""Deployment: a trained model as SavedModel, LiteRT or ONNX, and what its servers read."""
