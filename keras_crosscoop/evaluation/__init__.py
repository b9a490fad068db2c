"""Evaluation: inference on whole images, figures, and pictures of what a network sees."""

from keras_crosscoop.evaluation.evaluating import evaluate, write_json
from keras_crosscoop.evaluation.figures import best_and_worst
from keras_crosscoop.evaluation.pictures import draw_examples, overlay
from keras_crosscoop.evaluation.submission import Predictions
from keras_crosscoop.models.inference import Inference

__all__ = [
    "Inference",
    "Predictions",
    "best_and_worst",
    "draw_examples",
    "evaluate",
    "overlay",
    "write_json",
]
