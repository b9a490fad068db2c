"""Evaluation: figures from confusion matrices, and pictures of what a network sees."""

from keras_crosscoop.evaluation.figures import check_classes, evaluate, write_json
from keras_crosscoop.evaluation.pictures import draw_examples, draw_prediction, overlay, targets

__all__ = ["check_classes", "draw_examples", "draw_prediction", "evaluate", "overlay", "targets", "write_json"]
