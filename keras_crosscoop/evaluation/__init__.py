"""Evaluation: metrics of a model on a split, likely label errors, prediction files and example pictures."""

from keras_crosscoop.evaluation.evaluator import evaluate
from keras_crosscoop.evaluation.examples import draw_examples
from keras_crosscoop.evaluation.metrics import best_and_worst
from keras_crosscoop.evaluation.submission import SubmissionWriter
from keras_crosscoop.images.overlays import draw_overlay
from keras_crosscoop.models.inference import Inference
from keras_crosscoop.system.json_files import write_json

__all__ = [
    "Inference",
    "SubmissionWriter",
    "best_and_worst",
    "draw_examples",
    "draw_overlay",
    "evaluate",
    "write_json",
]
