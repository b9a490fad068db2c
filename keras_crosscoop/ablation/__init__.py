"""Ablation study: trains the rows of the paper's tables under identical conditions, and compares them."""

from keras_crosscoop.ablation.report import as_json, write_results
from keras_crosscoop.ablation.study import ablate

__all__ = ["ablate", "as_json", "write_results"]
