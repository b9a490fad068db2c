"""Evaluation: figures from confusion matrices, and pictures of what a network sees."""

from keras_crosscoop.evaluation.figures import evaluate, write_json
from keras_crosscoop.evaluation.pictures import draw_examples, draw_prediction, overlay, targets

__all__ = ["draw_examples", "draw_prediction", "evaluate", "overlay", "targets", "write_json"]
