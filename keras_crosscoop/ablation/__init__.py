"""Ablation: does cooperation help, and which part of it? The paper's tables, trained under identical conditions."""

from keras_crosscoop.ablation.report import as_json, write_results
from keras_crosscoop.ablation.study import ablate

__all__ = ["ablate", "as_json", "write_results"]
