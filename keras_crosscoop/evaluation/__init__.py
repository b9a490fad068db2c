"""Evaluation: inference on whole images, figures, and pictures of what a network sees."""

from keras_crosscoop.evaluation.evaluating import evaluate, write_json
from keras_crosscoop.evaluation.examples import draw_examples
from keras_crosscoop.evaluation.metrics import best_and_worst
from keras_crosscoop.evaluation.submission import Predictions
from keras_crosscoop.images.overlays import draw_overlay
from keras_crosscoop.models.inference import Inference

__all__ = [
    "Inference",
    "Predictions",
    "best_and_worst",
    "draw_examples",
    "draw_overlay",
    "evaluate",
    "write_json",
]
